"""Authentication of callers: pins, tokens and client certificates, independent of gRPC.

Only this package imports PyJWT and cryptography, and only in the modes that need them.
"""
