"""What can be seen of the work, for whoever looks; here, nobody does.

A call under way has a `CallRecorder`, which the work tells when a stage begins and what came of
it. That is all that the main job knows of metrics, traces and logs.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from sidecar.domain.decisions import Charge, Decision, ReservationRequest

T = TypeVar("T")

Stage = Literal["identity", "policy", "ledger"]
"""What a call goes through, in this order. It begins with the first."""


class CallRecorder:
    """One call under way. This one notes nothing."""

    __slots__ = ()

    def enter(self, stage: Stage) -> None:
        """Note that a stage begins, and the one before it ends."""

    def identified(self, asserted: Sequence[str]) -> None:
        """Note which fields of the principal are the app's own word."""

    def decided(
        self,
        reservation: ReservationRequest,
        decision: Decision,
        labels: Mapping[str, str],
        *,
        dry_run: bool,
    ) -> None:
        """Note the decision, which is durable unless it is a dry run."""

    def closed(self, way: Literal["settle", "release"], hold_id: str, charge: Charge) -> None:
        """Note what a hold has been charged, now or the first time it was closed."""

    def end(self, code: str) -> None:
        """Note that the call is over, with the name of its gRPC status."""


class CallRecorders:
    """Watches calls. This one does not."""

    async def begin(self, method: str, trace: Mapping[str, str]) -> CallRecorder:
        """Watch a call from now on, as soon as there is room to note it.

        `trace` has the headers `traceparent` and `tracestate`, as far as they came.
        """
        del method, trace
        return NULL_RECORDER


NULL_RECORDER = CallRecorder()
NULL_RECORDERS = CallRecorders()

current_recorder: ContextVar[CallRecorder] = ContextVar("watching", default=NULL_RECORDER)
"""The call that this task works for."""


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Do what lasts, and what notes it, before a caller that hangs up ends the call.

    What is decided would else be in the ledger, and in no log.
    """
    if current_recorder.get() is NULL_RECORDER:
        return await work
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise
