"""Counts of alerts since the start, for the metrics."""

from collections import Counter


class AlertCounts:
    """Counts of alerts in this process, which only grow."""

    def __init__(self) -> None:
        """Start at 0."""
        self.raised: Counter[str] = Counter()
        """By kind."""
        self.delivered: Counter[tuple[str, str]] = Counter()
        """By kind and channel."""
        self.failed: Counter[tuple[str, str]] = Counter()
        """Attempts that failed, by kind and channel."""
