"""The rate limit on each caller's requests."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from sidecar.domain.errors import ErrorCode, SidecarError

MAX_CALLERS = 10_000
"""Callers that are counted at a time; one that is dropped starts with a full bucket again."""


class RateLimitedError(SidecarError):
    """A caller sends more requests than its rate limit allows."""

    code, reason = ErrorCode.EXHAUSTED, "CALLER_TOO_FAST"
    text = "this caller sends more requests a second than --max-rate allows"

    def __init__(self, retry_after_seconds: float) -> None:
        """Keep when the caller may retry."""
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class Rate:
    """A token bucket for each caller, with a capacity of one second unless it is given."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = monotonic,
        max_callers: int = MAX_CALLERS,
        burst: float = 1.0,
    ) -> None:
        """Allow each caller this many requests a second; the clock is in seconds."""
        self._per_second = per_second
        self._most = max(burst, per_second)
        self._clock = clock
        self._max_callers = max_callers
        # By caller: the tokens left, and when. The most recent caller is last.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request. Raises RateLimitedError, and then does not count it."""
        now, buckets = self._clock(), self._buckets
        left, since = buckets.get(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        if left < 1:
            raise RateLimitedError((1 - left) / self._per_second)
        buckets[caller] = left - 1, now
        buckets.move_to_end(caller)
        if len(buckets) > self._max_callers:
            buckets.popitem(last=False)

    def give_back(self, caller: str) -> None:
        """Undo a `take` that counts for nothing after all."""
        if caller in self._buckets:
            left, since = self._buckets[caller]
            self._buckets[caller] = min(self._most, left + 1), since
