"""What every ledger promises, whatever it is kept in.

The promises have numbers; tests cite them.

- L1 never over: at every admission, settled + held + this hold <= ceiling.
- L2 conservation: every budget row equals the sum of its holds.
- L3 idempotent: the same request gets the same answer; a hold closes once.
- L4 durable: what was answered survives a crash; nothing half-done shows.
- L5 unknown is spent: an expired hold is charged at its worst case.
- L6 own window: a hold settles into the window it was authorized in.
- L7 integers: money is int64 nano-USD and tokens are int64.
- L8 no second truth: no counter beside the ledger; windows reset by a new row.
- L9 time never helps: a clock that jumps never reopens a window.

So have its alerts:

- A1 told once: each threshold of each scope and window raises one alert, in the
  transaction of the decision that reached it.
- A2 told at least once: an alert is owed to each channel until that has taken it.

And the use of keys:

- U1 counted once: each decision that names a registered key is one use of it, which a
  reader sees at once, and which outlives the decision.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from sidecar.domain.alerts import Alert, Delivery, DeliveryOutcome
from sidecar.domain.decisions import (
    Budget,
    Charge,
    Decision,
    Hold,
    Limit,
    Meter,
    OpenHold,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.errors import ErrorCode, SidecarError

USES_COUNTED_AT_ONCE = 1000
"""Decisions whose keys are counted in one transaction: bounds how long others wait for it.
More than are pruned in one, so that what is pruned was counted."""


class RequestIdReusedError(SidecarError):
    """The request id was used before, for another request."""

    code, reason, field = ErrorCode.EXISTS, "REQUEST_ID_REUSED", "request_id"
    text = "request_id was used before for another request; each call needs its own"


class HoldUnknownError(SidecarError):
    """The ledger has no such hold; it may have been pruned."""

    code, reason, field = ErrorCode.NOT_FOUND, "HOLD_UNKNOWN", "hold_id"
    text = "no hold with this hold_id; it may have been pruned"


class LedgerUnavailableError(SidecarError):
    """The ledger cannot write or read now; nothing was changed."""

    code, reason = ErrorCode.UNAVAILABLE, "LEDGER_UNAVAILABLE"

    @property
    def message(self) -> str:
        """The text that the client gets."""
        return f"the ledger cannot be used now, and nothing was changed: {self}"


class NotAdjustableError(SidecarError):
    """No such budget can be adjusted; the text says why."""

    code, reason = ErrorCode.PRECONDITION, "NOT_ADJUSTABLE"


class LedgerRefusedError(Exception):
    """The ledger cannot be opened; the text says which file, why, and the way out."""


class Ledger(Protocol):
    """Holds, settles and reports. Each answer is durable before it is given."""

    async def decide(self, reservation: ReservationRequest) -> Decision:
        """Hold all demands or none, and record the decision.

        A repeat of a request id returns the recorded decision.
        Raises RequestIdReusedError or LedgerUnavailableError.
        """

    def preview(self, reservation: ReservationRequest) -> Decision:
        """Decide as `decide` would at the proposal's time, holding and recording nothing.

        That may be a time to come: the ledger's own stays where it is.
        """

    async def settle(self, hold_id: str, settlement: Settlement) -> Charge:
        """Turn an open or expired hold into spend; a closed one stays as it is.

        Raises HoldUnknownError or LedgerUnavailableError.
        """

    async def release(self, hold_id: str, reason: str, at_us: int) -> Charge:
        """Give an open or expired hold back; a closed one stays as it is.

        Raises HoldUnknownError or LedgerUnavailableError.
        """

    def hold(self, hold_id: str) -> Hold:
        """Return one hold. Raises HoldUnknownError or LedgerUnavailableError."""

    def budgets(self, limits: Sequence[Limit], at_us: int) -> tuple[Budget, ...]:
        """Return how each limit stands at a time, which may be one to come.

        Raises LedgerUnavailableError.
        """

    async def adjust(
        self, rule: str, scope: str, amount: int, signed_by: str, reason: str, at_us: int
    ) -> Budget:
        """Count an amount as spent in the current window, or give room with a negative one.

        It is a row of its own. Raises NotAdjustableError or LedgerUnavailableError.
        """

    async def expire(self, at_us: int) -> int:
        """Charge or give back the holds that were not closed in time; return how many."""

    async def prune(self, at_us: int, retention_us: int) -> int:
        """Forget what is older than the retention and in no open window; return how much."""

    async def burn(self, at_us: int) -> int:
        """Raise an alert for each hour that spends unusually fast; return how many."""

    async def probe(self) -> None:
        """Write something that changes nothing. Raises LedgerUnavailableError."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a commit under way to end."""

    async def close(self) -> None:
        """Write what is queued, and let go of the file."""


class OperatorLedger(Ledger, Protocol):
    """What an operator asks of a ledger, while it is in use too."""

    def open_holds(self, after: tuple[int, int], at_most: int) -> Sequence[OpenHold]:
        """Return open holds after a place, in order. Raises LedgerUnavailableError."""

    def count_open_holds(self) -> int:
        """Return how many holds are open. Raises LedgerUnavailableError."""

    def meter_of(self, rule: str) -> Meter:
        """Return what a limit counts.

        Raises NotAdjustableError when no call has counted on it, or LedgerUnavailableError.
        """

    def time_us(self, at_us: int) -> int:
        """Return the ledger's time, which never goes back (L9)."""


class CommitWatcher(Protocol):
    """Is told how commits end. It must not wait."""

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """A group of requests is on disk, by a COMMIT that took so long.

        `closed` counts the holds that it settled, released or expired, and of these the
        `overrun`, and those with an `unrecognized_usage`.
        """

    def failed(self, why: str) -> None:
        """A group could not be written, for a reason that is the file's, in SQLite's words."""


class AlertOutbox(Protocol):
    """The alerts that channels are still owed."""

    def when_raised(self, tell: Callable[[Sequence[Alert]], None]) -> None:
        """From now on, tell of alerts as soon as they are durable. It must not wait."""

    def due(self, channel: str, now_us: int, at_most: int) -> Sequence[Delivery]:
        """Return what to tell a channel now. Raises LedgerUnavailableError."""

    async def record(self, channel: str, outcomes: Sequence[DeliveryOutcome], now_us: int) -> None:
        """Write down how attempts ended. Raises LedgerUnavailableError."""


class KeyLedger(Protocol):
    """Which keys are used, and which of their versions are revoked."""

    async def track(self, key_ids: Collection[str], at_us: int) -> None:
        """Count the use of these keys from now on. Raises LedgerUnavailableError."""

    async def count_usage(self) -> int:
        """Sum up decisions by the keys they name, some at a time; return how many.

        What was told of the use of keys outlives the decisions. Raises LedgerUnavailableError.
        """

    async def keys_in_use(self, at_us: int) -> int:
        """Raise an alert, once a day, for each key that is in use after its grace.

        Returns how many. Raises LedgerUnavailableError.
        """

    def revoked_versions(self) -> frozenset[str]:
        """Return the versions of keys that are revoked, as KEY#VERSION.

        Raises LedgerUnavailableError.
        """
