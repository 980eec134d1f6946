"""Generated from proto/sidecar/envoy by `make proto`; never edited by hand."""
