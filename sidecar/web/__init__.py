"""HTTP: httpx2 for calling others, h11 for being called; named here and nowhere else."""
