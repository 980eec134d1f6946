"""The gRPC server: gRPC is named here and nowhere else."""
