"""How many alerts there were since the start, for whoever measures."""

from collections import Counter


class AlertCounts:
    """Counts of this process, which only grow."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.raised: Counter[str] = Counter()
        """By kind."""
        self.delivered: Counter[tuple[str, str]] = Counter()
        """By kind and channel."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Attempts that failed, by kind and channel."""
