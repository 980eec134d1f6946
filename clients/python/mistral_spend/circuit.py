"""A circuit breaker: while the sidecar does not answer, calls do not wait for it.

After a few calls in a row without an answer it is open. Then one call a second probes: it asks,
once. All others get no answer at once. An answer, of any kind, closes it.
"""

import threading
import time

from mistral_spend.errors import CircuitOpen

FAILURES_TO_OPEN = 3
PROBE_SECONDS = 1.0


class Circuit:
    """What the last calls met. For any thread."""

    def __init__(self) -> None:
        """Begin closed."""
        self._lock = threading.Lock()
        self._failures = 0
        self._last = ""
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last calls, so many in a row, had no answer."""
        return self._failures >= FAILURES_TO_OPEN

    def admit(self) -> bool:
        """Tell whether a call that begins now is a probe. Raises CircuitOpen if it may not ask."""
        with self._lock:
            if not self.is_open:
                return False
            now = time.monotonic()
            if now < self._next_probe:
                raise CircuitOpen(self._failures, self._last)
            # By time, not by what became of the last probe: one that is cancelled blocks nothing.
            self._next_probe = now + PROBE_SECONDS
            return True

    def fail(self, error: Exception) -> None:
        """Count a call that had no answer."""
        with self._lock:
            self._failures += 1
            self._last = str(error)
            if self._failures == FAILURES_TO_OPEN:
                self._next_probe = time.monotonic() + PROBE_SECONDS

    def close(self) -> None:
        """Count an answer."""
        with self._lock:
            self._failures = 0
