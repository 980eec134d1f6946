"""Recorded calls: the stages and results of each, passed to listeners at its end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from sidecar.authorization.call_recorder import CallRecorder, CallRecorders, Stage
from sidecar.domain.decisions import Charge, Decision, ReservationRequest

log = logging.getLogger(__name__)

DECIDING = frozenset(("Authorize", "AuthorizeStream", "Check", "Evaluation"))
"""The methods that decide, including the adapters'. Explain makes dry runs only."""

CLOSING = frozenset(("Settle", "Release"))

NS = 1_000_000_000


class Decided(NamedTuple):
    """A decision, and the reservation request it was made for."""

    reservation: ReservationRequest
    decision: Decision
    labels: Mapping[str, str]
    dry_run: bool

    @property
    def mode(self) -> Literal["enforce", "dry_run", "repeat"]:
        """enforce: a new decision; dry_run; repeat: a replay of an earlier one."""
        if self.dry_run:
            return "dry_run"
        return "repeat" if self.decision.replayed else "enforce"


class Closed(NamedTuple):
    """The end of a hold by Settle or Release."""

    how: Literal["settle", "release"]
    hold_id: str
    charge: Charge


class StageTimes(NamedTuple):
    """A stage, with its start and end on the monotonic clock, in nanoseconds."""

    stage: Stage
    began_ns: int
    ended_ns: int


class ObservedCall(CallRecorder):
    """The record of one call."""

    __slots__ = (
        "_marks", "_on_end", "asserted", "began_ns", "closing", "code", "deciding", "ended_ns",
        "method", "trace",
    )  # fmt: skip

    def __init__(
        self, method: str, trace: Mapping[str, str], on_end: Callable[["ObservedCall"], None]
    ) -> None:
        """Start now; `on_end` gets the call when it ends."""
        self.method = method
        self.trace = trace
        self.code = ""
        self.asserted: Sequence[str] = ()
        self.deciding: Decided | None = None
        self.closing: Closed | None = None
        self._on_end = on_end
        self.began_ns = self.ended_ns = time.perf_counter_ns()
        self._marks: list[tuple[Stage | None, int]] = [("identity", self.began_ns)]

    def enter(self, stage: Stage) -> None:
        """See CallRecorder.enter."""
        self._marks.append((stage, time.perf_counter_ns()))

    def identified(self, asserted: Sequence[str]) -> None:
        """See CallRecorder.identified."""
        self.asserted = asserted

    def decided(
        self,
        reservation: ReservationRequest,
        decision: Decision,
        labels: Mapping[str, str],
        *,
        dry_run: bool,
    ) -> None:
        """See CallRecorder.decided."""
        self.deciding = Decided(reservation, decision, labels, dry_run)
        self._marks.append((None, time.perf_counter_ns()))

    def closed(self, how: Literal["settle", "release"], hold_id: str, charge: Charge) -> None:
        """See CallRecorder.closed."""
        self.closing = Closed(how, hold_id, charge)
        self._marks.append((None, time.perf_counter_ns()))

    def end(self, code: str) -> None:
        """See CallRecorder.end."""
        self.code = code
        self.ended_ns = time.perf_counter_ns()
        self._on_end(self)

    def stages(self) -> list[StageTimes]:
        """Return the stages in order; the last one ends with the call, if that failed in it."""
        ends = [at_ns for _, at_ns in self._marks[1:]] + [self.ended_ns]
        return [
            StageTimes(stage, began_ns, ended_ns)
            for (stage, began_ns), ended_ns in zip(self._marks, ends, strict=True)
            if stage is not None
        ]


class _EndRecorder(CallRecorder):
    """Records only the end of a call, for methods that change nothing."""

    __slots__ = ("_call",)

    def __init__(self, call: ObservedCall) -> None:
        self._call = call

    def end(self, code: str) -> None:
        self._call.end(code)


class TelemetryRecorders(CallRecorders):
    """Creates recorders, and passes each call that ends to the listeners."""

    def __init__(self, take_room: Callable[[], Awaitable[None]] | None = None) -> None:
        """Create recorders without listeners; `take_room` waits until a call can be logged."""
        self.listeners: list[Callable[[ObservedCall], None]] = []
        self._take_room = take_room
        self._failed = False
        self._in_progress = 0
        self._all_ended = asyncio.Event()
        self._all_ended.set()

    async def ended(self) -> None:
        """Wait until every call has ended."""
        await self._all_ended.wait()

    async def begin(self, method: str, trace: Mapping[str, str]) -> CallRecorder:
        """See CallRecorders.begin."""
        changes = method in DECIDING or method in CLOSING
        if changes and self._take_room is not None:
            await self._take_room()
        self._in_progress += 1
        self._all_ended.clear()
        call = ObservedCall(method, trace, self._on_end)
        return call if changes else _EndRecorder(call)

    def _on_end(self, call: ObservedCall) -> None:
        self._in_progress -= 1
        if not self._in_progress:
            self._all_ended.set()
        for listen in self.listeners:
            try:
                listen(call)
            except Exception as error:  # the decision is durable: its response must be sent
                if not self._failed:
                    self._failed = True
                    log.error("a call could not be recorded: %s", type(error).__name__)  # noqa: TRY400
