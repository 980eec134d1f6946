"""The siege: hostile input against a running sidecar, beside an honest caller (`make siege`)."""
