"""Which policy sets may take effect: those of a known digest, or signed with a known key."""
