"""`make bench`: what a decision costs; `make soak`: whether it stays that way."""
