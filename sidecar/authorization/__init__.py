"""Authorization: evaluate a request, reserve its worst case, decide, explain."""
