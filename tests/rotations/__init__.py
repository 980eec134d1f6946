"""`make rotations`: kill -9 a rotation at every boundary, and see what is left."""
