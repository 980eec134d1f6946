"""The gRPC server: gRPC is named here and nowhere else."""

import os

# Our own errors say what is wrong; gRPC's lines of C++ beside them do not help.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
