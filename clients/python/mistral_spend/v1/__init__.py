"""The contract's messages and stubs, generated from proto/sidecar/v1/authorization.proto."""
