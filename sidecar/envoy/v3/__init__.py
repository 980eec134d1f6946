"""Generated from proto/sidecar/envoy/v3 by `make proto`; never edited by hand."""
