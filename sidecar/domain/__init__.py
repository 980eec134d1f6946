"""The pure core: money, windows, prices, usage and decisions. It does no I/O."""
