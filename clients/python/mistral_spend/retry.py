"""Retries within one deadline. They are safe: a request_id is never charged twice."""

import random
import time

import grpc

from mistral_spend.circuit import Circuit
from mistral_spend.errors import NoAnswer, Refused

ATTEMPT_SECONDS = 2.0
"""The timeout of one attempt, so that one that hangs leaves time for another."""

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0

_FINAL = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Statuses that no retry changes. After any other, the sidecar may have acted or not."""


class Retry:
    """The retries of one request, within its deadline."""

    def __init__(self, seconds: float, circuit: Circuit | None = None) -> None:
        """Start the deadline. Without a circuit, failures of other calls do not end the retries.

        Raises CircuitOpen while the circuit is open.
        """
        self._circuit = circuit or Circuit()
        self._probes = self._circuit.admit()
        self.is_retry = False
        """Whether an attempt of this request has failed."""
        self._until = time.monotonic() + seconds
        self._pause_seconds = FIRST_PAUSE_SECONDS

    @property
    def attempt_seconds(self) -> float:
        """The timeout of the next attempt."""
        return max(0.001, min(ATTEMPT_SECONDS, self._until - time.monotonic()))

    def pause_seconds(self, error: grpc.RpcError) -> float:
        """Return how long to wait after a failed attempt.

        Raises Refused for a final status, and NoAnswer at the deadline.
        """
        self.is_retry = True
        code, details = error.code(), error.details() or ""
        if code in _FINAL:
            self.answered()
            raise Refused(code.name, details) from None
        # With jitter, so that clients of a restarting sidecar do not all retry at the same moment.
        pause = random.uniform(0.5, 1) * self._pause_seconds  # noqa: S311 - no secret
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        is_over = time.monotonic() + pause >= self._until
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # a rate limit, not an outage
            self.answered()
            if is_over:
                raise Refused(code.name, details) from None
        elif is_over or self._probes or self._circuit.is_open:
            no_answer = NoAnswer(code.name, details)
            self._circuit.fail(no_answer)
            raise no_answer from None
        return pause

    def answered(self) -> None:
        """Close the circuit after a response."""
        self._circuit.close()
