"""Call recorders: receive the stages and results of an RPC; the ones here discard them.

Authorization reports to the `CallRecorder` of the current call. It knows no more than that
of metrics, traces and logs.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Literal

from sidecar.domain.decisions import Charge, Decision, ReservationRequest

Stage = Literal["identity", "queue", "policy", "ledger"]
"""The stages of a call, in this order. A call starts in `identity`; `queue` ends when its group
begins."""


class CallRecorder:
    """Records one call in progress. This base class discards everything."""

    __slots__ = ()

    def enter(self, stage: Stage) -> None:
        """Record that a stage begins, and the one before it ends."""

    def identified(self, asserted: Sequence[str]) -> None:
        """Record which fields of the principal are asserted by the app, not proven."""

    def decided(
        self,
        reservation: ReservationRequest,
        decision: Decision,
        labels: Mapping[str, str],
        *,
        dry_run: bool,
    ) -> None:
        """Record the decision, which is durable unless it is a dry run."""

    def closed(self, how: Literal["settle", "release"], hold_id: str, charge: Charge) -> None:
        """Record what a hold was charged when it was closed, now or earlier."""

    def end(self, code: str) -> None:
        """Record the end of the call, with the name of its gRPC status."""


class CallRecorders:
    """Creates a recorder for each call. This base class returns NULL_RECORDER."""

    async def begin(self, method: str, trace: Mapping[str, str]) -> CallRecorder:
        """Return the recorder of a new call; waits while the decision log is full.

        `trace` has the headers `traceparent` and `tracestate`, if they were sent.
        """
        del method, trace
        return NULL_RECORDER


NULL_RECORDER = CallRecorder()
NULL_RECORDERS = CallRecorders()

current_recorder: ContextVar[CallRecorder] = ContextVar("call_recorder", default=NULL_RECORDER)
"""The recorder of the call that the current task serves."""
