"""What is noted of a call, and who is told when it is over."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from sidecar.authorization.call_recorder import CallRecorder, CallRecorders, Stage
from sidecar.domain.decisions import Charge, Decision, ReservationRequest

log = logging.getLogger(__name__)

DECIDING = frozenset(("Authorize", "AuthorizeStream", "Check", "Evaluation"))
"""The methods that decide, those of front doors last. Explain decides many times, for nothing."""

CLOSING = frozenset(("Settle", "Release"))

NS = 1_000_000_000


class Decided(NamedTuple):
    """A decision, and the call it was made for."""

    reservation: ReservationRequest
    decision: Decision
    labels: Mapping[str, str]
    dry_run: bool

    @property
    def mode(self) -> Literal["enforce", "dry_run", "repeat"]:
        """Whether it was made now and counts, or only tried, or made for an earlier call."""
        if self.dry_run:
            return "dry_run"
        return "repeat" if self.decision.replayed else "enforce"


class Closed(NamedTuple):
    """How a hold ended."""

    way: Literal["settle", "release"]
    hold_id: str
    charge: Charge


class StageTimes(NamedTuple):
    """A stage, and when it began and ended, on a clock of nanoseconds that never jumps."""

    stage: Stage
    began_ns: int
    ended_ns: int


class ObservedCall(CallRecorder):
    """One call, as far as it has come."""

    __slots__ = (
        "_marks", "_over", "asserted", "began_ns", "closing", "code", "deciding", "ended_ns",
        "method", "trace",
    )  # fmt: skip

    def __init__(
        self, method: str, trace: Mapping[str, str], over: Callable[["ObservedCall"], None]
    ) -> None:
        """Begin now; `over` is told when the call is."""
        self.method = method
        self.trace = trace
        self.code = ""
        self.asserted: Sequence[str] = ()
        self.deciding: Decided | None = None
        self.closing: Closed | None = None
        self._over = over
        self.began_ns = self.ended_ns = time.perf_counter_ns()
        self._marks: list[tuple[Stage | None, int]] = [("identity", self.began_ns)]

    def enter(self, stage: Stage) -> None:
        """See Watch.enter."""
        self._marks.append((stage, time.perf_counter_ns()))

    def identified(self, asserted: Sequence[str]) -> None:
        """See Watch.identified."""
        self.asserted = asserted

    def decided(
        self,
        reservation: ReservationRequest,
        decision: Decision,
        labels: Mapping[str, str],
        *,
        dry_run: bool,
    ) -> None:
        """See Watch.decided."""
        self.deciding = Decided(reservation, decision, labels, dry_run)
        self._marks.append((None, time.perf_counter_ns()))

    def closed(self, way: Literal["settle", "release"], hold_id: str, charge: Charge) -> None:
        """See Watch.closed."""
        self.closing = Closed(way, hold_id, charge)
        self._marks.append((None, time.perf_counter_ns()))

    def end(self, code: str) -> None:
        """See Watch.end."""
        self.code = code
        self.ended_ns = time.perf_counter_ns()
        self._over(self)

    def stages(self) -> list[StageTimes]:
        """Return each stage that began, in order; the last of a call that failed ends with it."""
        ends = [at_ns for _, at_ns in self._marks[1:]] + [self.ended_ns]
        return [
            StageTimes(stage, began_ns, ended_ns)
            for (stage, began_ns), ended_ns in zip(self._marks, ends, strict=True)
            if stage is not None
        ]


class _Uncounted(CallRecorder):
    """A call of which only the end is noted: nothing is decided or closed for good."""

    __slots__ = ("_call",)

    def __init__(self, call: ObservedCall) -> None:
        self._call = call

    def end(self, code: str) -> None:
        self._call.end(code)


class TelemetryRecorders(CallRecorders):
    """Notes calls, and tells whoever listens when one is over."""

    def __init__(self, take_room: Callable[[], Awaitable[None]] | None = None) -> None:
        """Let no call begin before there is room to note it. Nobody listens yet."""
        self.listeners: list[Callable[[ObservedCall], None]] = []
        self._take_room = take_room
        self._failed = False

    async def begin(self, method: str, trace: Mapping[str, str]) -> CallRecorder:
        """See Observer.begin."""
        if method not in DECIDING and method not in CLOSING:
            return _Uncounted(ObservedCall(method, trace, self._over))
        if self._take_room is not None:
            await self._take_room()
        return ObservedCall(method, trace, self._over)

    def _over(self, call: ObservedCall) -> None:
        for listen in self.listeners:
            try:
                listen(call)
            except Exception as error:  # the answer is made, and durable: it has to go out
                if not self._failed:
                    self._failed = True
                    log.error("a call could not be noted: %s", type(error).__name__)  # noqa: TRY400
