"""Counters and histograms in plain integers, so that counting a decision is cheap."""

from bisect import bisect_left
from collections import Counter

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from sidecar.telemetry.labels import label
from sidecar.telemetry.names import Name

MAX_SERIES = 1000
"""Label sets of one counter: reloaded policies add new ones over time."""

OTHER = "(other)"


class Counts:
    """A counter by label set; sets above MAX_SERIES are counted together."""

    def __init__(self, name: Name, *known: tuple[str, ...]) -> None:
        """Start at 0; the `known` label sets are shown from the start."""
        self._name = name
        self._counts = Counter[tuple[str, ...]](dict.fromkeys(known, 0))

    def add(self, *labels: str, more: int = 1) -> None:
        """Add 1, or `more`."""
        counts = self._counts
        if labels not in counts and len(counts) >= MAX_SERIES:
            labels = (OTHER,) * len(labels)
        counts[labels] += more

    def family(self) -> CounterMetricFamily:
        """Return the counter as a Prometheus family."""
        name, help_text, label_names = self._name
        family = CounterMetricFamily(name, help_text, labels=label_names)
        for labels, count in self._counts.items():
            family.add_metric([label(text) for text in labels], count)
        return family


class Histogram:
    """A histogram for one label set."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start at 0."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, *labels: str) -> None:
        """Add the buckets to a Prometheus family."""
        total, buckets = 0, []
        bounds = (*(str(float(bound)) for bound in self._bounds), "+Inf")
        for bound, count in zip(bounds, self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)
