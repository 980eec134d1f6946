"""What people and their programs see of a running sidecar: metrics, traces, decisions."""
