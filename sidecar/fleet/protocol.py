"""The interface of a fleet's books, and the promises that a fleet keeps.

Each sidecar decides by its own ledger, which is a *holder*. Of each budget it has a *share* on its
own disk. The books, which all holders write to, say how much each has. All that a holder sends is
state, never a difference: a repeat changes nothing.

The promises have numbers; tests cite them, beside those of the ledger (L1 to L9).

- G1 the books grant a share only while all shares of the budget, with what is used beyond them, add
  up to at most its ceiling less its adjustments. A lower ceiling, and an adjustment that takes room
  away, take back no share: until holders give theirs back, these add up to what they did before.
- G2 a holder admits a call only if spent + held + this hold <= its share on its own disk.
- G3 a share rises in the books first, and falls on its holder's disk first. The books lower none.
- G4 each version of a holder is applied once; the answer is the state.
- G5 an old or a copied ledger, or a process that another has replaced, is fenced at its next
  exchange.
- G6 no share of a window that ends is taken back because of time. One of a sliding minute or of a
  concurrent limit ends with the silence of its holder, which stops to use it before (SILENT_US),
  and is granted it anew.
- G7 the rest of a vanished holder's share is spent, until an operator signs or its window ends.
- G8 books that lost commits grant nothing until live holders have restated what they have.
- G9 books that cannot be reached make a call UNAVAILABLE, which is recorded nowhere; a Deny for
  lack of room means that the books said so half a second ago at most.
- G10 figures of usage replace the last ones of the same holder.

In each window the real cost is at most the highest ceiling that a holder enforces, and overruns,
and D, and C. D are grants that were lost when an asynchronous replica took over, of holders that
were silent through the time of G8; 0 with synchronous replication. C is the rest of the share in a
ledger file that was copied and served twice, once.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.domain.sharing import BudgetKey, Demand, Share


class Item(NamedTuple):
    """What a holder says of one budget."""

    key: BudgetKey
    end_us: int
    ceiling: int
    """Under which its calls ask."""
    demand: Demand
    busy_us: int = 0
    """For how long it may have open holds from now on, if it is not heard of again; for a
    concurrent limit. Of the calls that it may still admit, too."""


class Exchange(NamedTuple):
    """All that a holder says at one time."""

    uid: str
    """The holder. It is made by the ledger that joins, and random."""
    boot: int
    """How often a sidecar has started on it."""
    nonce: str
    """Of the process, and random: a copied file has the same uid, boot and version."""
    version: int
    """One more than that of the last answer on its disk; a repeat has the same."""
    timeline: int
    """The highest of PostgreSQL that it has seen."""
    fleet_id: str
    """Of the fleet that the holder is in; empty before its first exchange."""
    time_zone: str
    """In which its windows begin."""
    name: str
    """Of the pod, for people."""
    items: Sequence[Item] = ()


class Entry(NamedTuple):
    """What the books say of one budget, after an exchange."""

    key: BudgetKey
    share: Share
    is_short: bool
    """Whether another holder has lacked room lately: then what is not used is given back."""
    is_closed: bool = False
    """Whether nothing is granted: the window is not open by the books' clock, or G8."""


class Answer(NamedTuple):
    """The state of the books for one holder."""

    entries: Sequence[Entry]
    now_us: int
    """By the books' clock."""
    timeline: int
    holders: int
    """Those that were seen in the last minute."""
    is_learning: bool
    """G8: whether nothing is granted now."""
    fleet_id: str


class FleetUnreachableError(SidecarError):
    """The books cannot be asked now: no call was decided, and nothing was recorded (G9)."""

    code, reason = ErrorCode.UNAVAILABLE, "FLEET_UNREACHABLE"
    retry_after_seconds = 1.0

    @property
    def message(self) -> str:
        """The text that the client gets."""
        return f"the fleet's budgets cannot be asked now, and nothing was recorded: {self}"


class FleetRefusedError(Exception):
    """The books are not this holder's; the text says why, and the way out.

    Such as those of another fleet, in another time zone or of a newer version.
    """


class FencedError(FleetRefusedError):
    """G5: another ledger, or another process, goes on in the place of this one."""


class SharedBooks(Protocol):
    """The fleet's books."""

    async def exchange(self, exchange: Exchange) -> Answer:
        """Book what a holder says, and return the state of its budgets, in one transaction.

        Raises FleetUnreachableError, FleetRefusedError or FencedError.
        """

    async def close(self) -> None:
        """Close the connections."""
