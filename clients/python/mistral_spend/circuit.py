"""A circuit breaker: while the sidecar does not answer, calls do not wait for it.

It opens after a few calls in a row without a response. Then one call a second is a probe, with one
attempt, and all others fail at once. Any response closes it.
"""

import threading
import time

from mistral_spend.errors import CircuitOpen

FAILURES_TO_OPEN = 3
PROBE_SECONDS = 1.0


class Circuit:
    """Counts failures in a row. Thread-safe."""

    def __init__(self) -> None:
        """Start closed."""
        self._lock = threading.Lock()
        self._failures = 0
        self._last = ""
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        """Whether enough calls in a row had no response."""
        return self._failures >= FAILURES_TO_OPEN

    def admit(self) -> bool:
        """Return whether a call that begins now is a probe. Raises CircuitOpen."""
        with self._lock:
            if not self.is_open:
                return False
            now = time.monotonic()
            if now < self._next_probe:
                raise CircuitOpen(self._failures, self._last)
            # By time, not by the result of the last probe, which may have been cancelled.
            self._next_probe = now + PROBE_SECONDS
            return True

    def fail(self, error: Exception) -> None:
        """Count a call without a response."""
        with self._lock:
            self._failures += 1
            self._last = str(error)
            if self._failures == FAILURES_TO_OPEN:
                self._next_probe = time.monotonic() + PROBE_SECONDS

    def close(self) -> None:
        """Reset the count after a response."""
        with self._lock:
            self._failures = 0
