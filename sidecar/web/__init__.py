"""Calling others by HTTP: httpx2 is named here and nowhere else."""
