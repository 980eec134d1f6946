"""The Envoy adapter: external authorization over gRPC."""
