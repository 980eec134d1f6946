"""`mistral_spend.v1.authorization_pb2_grpc` of the client package, under its earlier name."""

from mistral_spend.v1.authorization_pb2_grpc import *
