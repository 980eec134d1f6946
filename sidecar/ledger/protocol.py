"""The interfaces of a ledger, and the promises that every implementation has to keep.

The promises have numbers; tests cite them.

- L1 never over: at every admission, spent + held + this hold <= ceiling, for every limit
  of which the call takes something; a ceiling of 0 stops every call.
- L2 conservation: every budget row equals the sum of its holds, adjustments and opening balance.
  The opening balance is what pruned holds were charged; the chain of decisions proves it.
- L3 idempotent: the same request gets the same answer; a hold is settled or released once. A
  request id belongs to its proven owner, else to its principal and workspace. A denial is repeated
  for as long as it is kept: newer ones may have taken its room.
- L4 durable: a response that was sent survives a crash; nothing half-done shows.
- L5 unknown is spent: an expired hold is charged at its worst case, on every limit that does
  not say `on_expiry: release`.
- L6 own window: a hold settles into the window it was authorized in.
- L7 integers: money is int64 nano-USD and tokens are int64.
- L8 no second truth: no counter beside the ledger; windows reset by a new row.
- L9 monotonic time: a clock that jumps never reopens a window. A signed correction may set the
  time back; windows then keep what they had spent.

Alerts:

- A1 raised once: each threshold of each scope and window raises one alert, in the
  transaction of the decision that reached it. Of a fleet's ledgers, which all raise it, one
  delivers it to each channel while the fleet's books answer: see fleet/alerts.py.
- A2 delivered at least once: an alert stays due for each channel until that accepts it.

Denials:

- D1 bounded: denials take a bounded part of the file, the oldest go first, and allowed calls and
  budgets are as without them. How many have gone is counted, and their chain proves the number.

Key usage:

- U1 counted once: each decision that names a registered key is one use of it. Readers
  see the use at once, and it is kept when the decision is pruned.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from sidecar.domain.alerts import Alert, AlertGroup, Delivery, DeliveryOutcome
from sidecar.domain.decisions import (
    Budget,
    Charge,
    Decision,
    DenialCounts,
    Hold,
    Limit,
    Meter,
    OpenHold,
    ReservationRequest,
    Settlement,
)
from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.ledger.disk_use import DiskUse

if TYPE_CHECKING:  # commands that only read need not load asyncio
    from sidecar.ledger.change import Change

R = TypeVar("R")

MAX_USES_PER_TRANSACTION = 1000
"""Decisions whose keys are counted in one transaction: bounds how long other requests wait."""


class RequestIdReusedError(SidecarError):
    """The caller used the request id before, for another request."""

    code, reason, field = ErrorCode.EXISTS, "REQUEST_ID_REUSED", "request_id"
    text = "request_id was used before for another request; each call needs its own"


class HoldUnknownError(SidecarError):
    """The ledger has no such hold; it may have been pruned."""

    code, reason, field = ErrorCode.NOT_FOUND, "HOLD_UNKNOWN", "hold_id"
    text = "no hold with this hold_id; it may have been pruned"


class LedgerUnavailableError(SidecarError):
    """The ledger cannot be read or written now; nothing was changed."""

    code, reason = ErrorCode.UNAVAILABLE, "LEDGER_UNAVAILABLE"

    @property
    def message(self) -> str:
        """The text that the client gets."""
        return f"the ledger cannot be used now, and nothing was changed: {self}"


class NotAdjustableError(SidecarError):
    """The budget cannot be adjusted; the text says why."""

    code, reason = ErrorCode.PRECONDITION, "NOT_ADJUSTABLE"


class LedgerRefusedError(Exception):
    """The ledger cannot be opened; the text says which file, why, and the way out."""


class Ledger(Protocol):
    """Decides, settles and reports. A change is durable before its method returns."""

    async def decide(self, reservation: ReservationRequest) -> Decision:
        """Hold all lines of the request or none, and record the decision.

        A repeat of the owner's request id returns the recorded decision.
        Raises RequestIdReusedError or LedgerUnavailableError.
        """

    def decide_in_group(
        self, propose: Callable[[], ReservationRequest], then: Callable[[Decision], R]
    ) -> "Change[R]":
        """Decide what `propose` returns, which is called when the group of the call begins.

        So all work on a call is done at once, and groups are larger. Cancelled before, it is not
        decided. `then` gets the decision as soon as it is on disk, whether a caller waits or not,
        and returns the result. What `propose` raises fails this call alone. Raises what `decide`
        raises, at once or later.
        """

    def recorded(self, reservation: ReservationRequest) -> Decision | None:
        """Return the decision recorded for the owner's request id; None if there is none.

        Raises RequestIdReusedError or LedgerUnavailableError.
        """

    def preview(self, reservation: ReservationRequest) -> Decision:
        """Return what `decide` would at the request's time; hold and record nothing.

        The time may be in the future: the ledger's own time does not move.
        """

    async def settle(self, hold_id: str, settlement: Settlement) -> Charge:
        """Charge the real usage for an open or expired hold; a settled or released one stays.

        Raises HoldUnknownError or LedgerUnavailableError.
        """

    def settle_in_group(
        self,
        hold_id: str,
        settlement_of: Callable[[Hold], Settlement],
        then: Callable[[Charge], R],
        owner: str = "",
    ) -> "Change[R]":
        """Settle a hold as `settlement_of` says, which is called with it when its group begins.

        With an owner, another principal's hold is unknown. It is done whether a caller waits or
        not; `then` is as in decide_in_group. What `settlement_of` raises fails this call alone;
        else errors are those of `settle`.
        """

    async def release(self, hold_id: str, reason: str, at_us: int) -> Charge:
        """End an open or expired hold at no charge; a settled or released one stays.

        Raises HoldUnknownError or LedgerUnavailableError.
        """

    def release_in_group(
        self,
        hold_id: str,
        reason: str,
        at_us: Callable[[], int],
        then: Callable[[Charge], R],
        owner: str = "",
    ) -> "Change[R]":
        """Release a hold at the time when its group begins; see settle_in_group."""

    def hold(self, hold_id: str) -> Hold:
        """Return one hold. Raises HoldUnknownError or LedgerUnavailableError."""

    def budgets(self, limits: Sequence[Limit], at_us: int) -> tuple[Budget, ...]:
        """Return the budget of each limit at a time, which may be in the future.

        Raises LedgerUnavailableError.
        """

    async def adjust(
        self, rule: str, scope: str, amount: int, signed_by: str, reason: str, at_us: int
    ) -> Budget:
        """Add an amount to the current window's spend; a negative one adds room.

        The adjustment is a row of its own. Raises NotAdjustableError or LedgerUnavailableError.
        """

    async def expire(self, at_us: int) -> int:
        """Charge or release the holds that have expired; return how many."""

    async def prune(self, at_us: int, retention_us: int) -> int:
        """Delete decisions past the retention; return how many.

        What their holds were charged stays in the budgets, as opening balances.
        """

    async def burn(self, at_us: int) -> int:
        """Raise an alert for each limit that spends unusually fast; return how many."""

    async def probe(self) -> None:
        """Check that the file can be written, changing nothing. Raises LedgerUnavailableError."""

    @property
    def waiting(self) -> int:
        """How many requests wait for the commit in progress."""

    async def close(self) -> None:
        """Commit what is queued, and close the file."""


class OperatorLedger(Ledger, Protocol):
    """The ledger with the reads that operators need, also while it is in use."""

    def open_holds(self, after: tuple[int, int], at_most: int) -> Sequence[OpenHold]:
        """Return open holds after a position, in order. Raises LedgerUnavailableError."""

    def count_open_holds(self) -> int:
        """Return how many holds are open. Raises LedgerUnavailableError."""

    def denial_counts(self) -> DenialCounts:
        """Return how many denials are kept, and were dropped. Raises LedgerUnavailableError."""

    def meter_of(self, rule: str) -> Meter:
        """Return what a limit counts.

        Raises NotAdjustableError when no call has counted on it, or LedgerUnavailableError.
        """

    def counted_rules(self) -> Collection[str]:
        """Return the limits that have counted a call. Raises LedgerUnavailableError."""

    def has_budget(self, rule: str, scope: str) -> bool:
        """Return whether a limit has a budget for a scope. Raises LedgerUnavailableError."""

    def scopes_of(self, rule: str, at_most: int) -> Collection[str]:
        """Return scopes that a limit has budgets for, of the newest ones.

        Raises LedgerUnavailableError.
        """

    def time_us(self, at_us: int) -> int:
        """Return the ledger's time, which never goes back (L9)."""

    def disk_use(self) -> DiskUse:
        """Return the room it takes, and what is free. Raises LedgerUnavailableError."""

    def readers(self) -> Sequence[str]:
        """Return the names of other processes that read it now."""

    async def keep_reserve(self) -> None:
        """Keep room on the disk to recover with, once it is full.

        Raises LedgerUnavailableError.
        """


class CommitWatcher(Protocol):
    """Callbacks for the result of each commit. They must not block."""

    def committed(self, requests: int, seconds: float, closed: Mapping[str, int]) -> None:
        """A group of requests is on disk; its COMMIT took this many seconds.

        `closed` counts the holds that it closed: by state, and those with an `overrun` or an
        `unrecognized_usage`.
        """

    def failed(self, why: str) -> None:
        """A group could not be written because of the file; `why` is SQLite's message."""


class AlertOutbox(Protocol):
    """The alerts that are not yet delivered to every channel."""

    def on_raised(self, callback: Callable[[Sequence[Alert]], None]) -> None:
        """Call back with new alerts as soon as they are durable. The callback must not block."""

    def due(
        self,
        channel: str,
        now_us: int,
        at_most: int,
        *,
        group: AlertGroup | None = None,
        without: Sequence[AlertGroup] = (),
    ) -> Sequence[Delivery]:
        """Return the deliveries that are due for a channel: of one group, or without some.

        Raises LedgerUnavailableError.
        """

    async def record(self, channel: str, outcomes: Sequence[DeliveryOutcome], now_us: int) -> None:
        """Record the outcomes of delivery attempts. Raises LedgerUnavailableError."""


class KeyLedger(Protocol):
    """The usage of keys, and the revoked versions."""

    async def track(self, key_ids: Collection[str], at_us: int) -> None:
        """Count the use of these keys from now on. Raises LedgerUnavailableError."""

    async def count_usage(self) -> int:
        """Sum up one batch of decisions by the key they name; return how many.

        The sums are kept when the decisions are pruned. Raises LedgerUnavailableError.
        """

    async def keys_in_use(self, at_us: int) -> int:
        """Raise an alert, once a day, for each old key still used after its grace period.

        Return how many. Raises LedgerUnavailableError.
        """

    def revoked_versions(self) -> frozenset[str]:
        """Return the versions of keys that are revoked, as KEY#VERSION.

        Raises LedgerUnavailableError.
        """
