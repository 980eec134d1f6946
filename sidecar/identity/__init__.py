"""Who calls, and how that is known. Nothing here knows of gRPC.

PyJWT and cryptography are named here alone, and loaded only where they are asked for.
"""
