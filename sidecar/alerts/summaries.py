"""Which alerts of one channel wait for a summary: those of a kind and rule that come too fast."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from time import monotonic

from sidecar.domain.alerts import AlertGroup, Delivery

MAX_ALERTS = 60
"""Alerts of one kind and rule that are sent one by one in SUMMARY_SECONDS; the rest wait."""

SUMMARY_SECONDS = 60.0
"""The time between two summaries of one kind and rule."""

MAX_SUMMARIZED = 10_000
"""Alerts that one summary stands for at most."""


class Summaries:
    """The alerts that were sent one by one, and the groups that wait for their summary."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Nothing was sent yet; the clock is in seconds."""
        self._clock = clock
        self._sent: dict[AlertGroup, deque[float]] = defaultdict(deque)
        self._next: dict[AlertGroup, float] = {}

    @property
    def waiting(self) -> Sequence[AlertGroup]:
        """The groups whose alerts are not sent one by one now."""
        return tuple(self._next)

    @property
    def due(self) -> list[AlertGroup]:
        """The groups whose summary may be sent now."""
        now = self._clock()
        return [group for group, at in self._next.items() if at <= now]

    def single(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return those of the deliveries that may be sent one by one; the others' groups wait."""
        now, chosen = self._clock(), []
        for group in [one for one, sent in self._sent.items() if sent[-1] <= now - SUMMARY_SECONDS]:
            del self._sent[group]
        for delivery in deliveries:
            group = delivery.alert.group
            sent = self._sent[group]
            while sent and sent[0] <= now - SUMMARY_SECONDS:
                sent.popleft()
            if len(sent) < MAX_ALERTS:
                sent.append(now)
                chosen.append(delivery)
            else:
                self._next.setdefault(group, sent[0] + SUMMARY_SECONDS)
        return chosen

    def sent(self, group: AlertGroup, alerts: int) -> None:
        """Note the summary of a group: while it has many alerts, the next ones wait, too."""
        if alerts > MAX_ALERTS:
            self._next[group] = self._clock() + SUMMARY_SECONDS
        else:
            self._next.pop(group)
