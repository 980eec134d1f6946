"""The yardstick: a gRPC server with rules as `if` statements, and budgets in Redis."""
