"""The main job: evaluate a request, reserve its worst case, answer; and explain."""
