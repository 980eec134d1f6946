"""Where apps find the secret of a key: a file, a Kubernetes Secret, or an operator's command."""
