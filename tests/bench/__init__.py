"""The benchmark of a decision's cost (`make bench`), and a long load test (`make soak`)."""
