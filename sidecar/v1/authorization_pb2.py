"""`mistral_spend.v1.authorization_pb2` of the client package, under its earlier name."""

from mistral_spend.v1.authorization_pb2 import *
