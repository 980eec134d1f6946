"""The gRPC server and the adapters; no other folder of the sidecar serves gRPC."""

import os

# The sidecar logs its own errors; the log lines of gRPC's C++ core do not add to them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
