"""The AuthZEN adapter: the Authorization API 1.0 over HTTP."""
