"""How fast one caller may ask."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from sidecar.domain.errors import ErrorCode, SidecarError

MAX_CALLERS = 10_000
"""Callers that are counted at a time; one that is pushed out begins anew."""


class RateLimitedError(SidecarError):
    """A caller asks faster than it may."""

    code, reason = ErrorCode.EXHAUSTED, "CALLER_TOO_FAST"
    text = "this caller asks faster than --max-rate lets it"

    def __init__(self, retry_after_seconds: float) -> None:
        """Keep when it may ask again."""
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class Rate:
    """A bucket of tokens for each caller: a second's worth, filled as time goes on."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = monotonic,
        callers_at_most: int = MAX_CALLERS,
    ) -> None:
        """Let each caller ask so often in a second; the clock is in seconds."""
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._callers_at_most = callers_at_most
        # By caller: what was left, and when. Who asked last is last.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one question. Raises RateLimitedError, and counts nothing then."""
        now, buckets = self._clock(), self._buckets
        left, since = buckets.get(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        if left < 1:
            raise RateLimitedError((1 - left) / self._per_second)
        buckets[caller] = left - 1, now
        buckets.move_to_end(caller)
        if len(buckets) > self._callers_at_most:
            buckets.popitem(last=False)
