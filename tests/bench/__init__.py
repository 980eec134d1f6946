"""`make bench`: what a decision costs."""
