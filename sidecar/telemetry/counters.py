"""Counters and histograms in plain numbers: a decision pays for little more than additions."""

from bisect import bisect_left
from collections import Counter

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from sidecar.telemetry.labels import label
from sidecar.telemetry.names import Name

MAX_SERIES = 1000
"""Sets of labels of one counter. Policies that are replaced bring new ones, again and again."""

OTHER = "(other)"


class Counts:
    """One counter for each set of labels; sets past the bound are counted together."""

    def __init__(self, name: Name, *known: tuple[str, ...]) -> None:
        """Start at nothing. What is known beforehand is shown from the start."""
        self._name = name
        self._counts = Counter[tuple[str, ...]](dict.fromkeys(known, 0))

    def add(self, *labels: str, more: int = 1) -> None:
        """Count one more, or several."""
        counts = self._counts
        if labels not in counts and len(counts) >= MAX_SERIES:
            labels = (OTHER,) * len(labels)
        counts[labels] += more

    def family(self) -> CounterMetricFamily:
        """Write what was counted."""
        name, tells, label_names = self._name
        family = CounterMetricFamily(name, tells, labels=label_names)
        for labels, count in self._counts.items():
            family.add_metric([label(text) for text in labels], count)
        return family


class Histogram:
    """How often values were at most so large, for one set of labels."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start at nothing."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, *labels: str) -> None:
        """Write what was counted."""
        total, buckets = 0, []
        bounds = (*(str(float(bound)) for bound in self._bounds), "+Inf")
        for bound, count in zip(bounds, self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)
