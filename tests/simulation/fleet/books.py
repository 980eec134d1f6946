"""The simulated fleet's books: the pure rules in memory, with checks of G1, G3 to G6 and G8.

The checks count shares by rules of their own, so that a fault in the rules of the books shows.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from fleet.simulated_books import Rows, SimulatedBooks

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.sharing import TIMELESS, BudgetKey
from sidecar.domain.windows import Window
from sidecar.fleet.books import ShareRow
from sidecar.fleet.protocol import Answer, Exchange, Item
from simulation.fleet.limits import Highest
from simulation.promises import BrokenPromiseError

LEARNING_US = 10 * SECOND_US
SILENT_US = 30_300_000
MINUTE_US = 60 * SECOND_US

HEARD_OFTEN = 4
"""A holder that was heard so often while the books learnt knows of it, and has restated all."""

Process = tuple[int, str]
"""A process on a ledger: its boot and its nonce."""


class CheckedBooks(SimulatedBooks):
    """Books that check each exchange that they commit."""

    def __init__(self, clock: Clock, highest: Highest) -> None:
        """Begin empty."""
        super().__init__(clock)
        self._highest = highest
        self._current: dict[str, Process] = {}
        """The last process of each holder that was answered."""
        self._replaced: set[tuple[str, Process]] = set()
        self._accepted: dict[str, int] = {}
        """The highest version of each holder since the last loss."""
        self._latest: dict[str, int] = {}
        """The highest version of each holder at all."""
        self._has_lost: set[str] = set()
        """Holders that have not restated what they have since the last loss."""
        self._closed_until_us = 0
        self._has_new_timeline = False
        self._lost: dict[str, Counter[BudgetKey]] = {}
        """What each holder was granted, and the books have lost."""
        self._heard_of = Counter[str]()
        """How often each holder was heard since the last loss."""
        self.never_restated: Counter[BudgetKey] = Counter()
        """D: of these grants, those of holders that were silent while the books learnt."""
        self.commits = 0

    def fail_over(self, rows: Rows) -> None:
        """Go back to an earlier state, on another server, which has a new timeline."""
        self._write_off()
        self._lost = defaultdict(Counter)
        for key, shares in self.rows.shares.items():
            earlier = rows.shares.get(key, {})
            for uid, share in shares.items():
                kept = 0 if uid not in earlier or key.window in TIMELESS else earlier[uid].granted
                self._lost[uid][key] = max(0, share.granted - kept)
        self._has_lost = set(self._latest)
        self._heard_of.clear()
        self._replaced.clear()
        self._current.clear()
        self._accepted.clear()
        self.restore(rows)
        for key, adjusted in self.rows.adjusted.items():
            self._highest.see_adjusted(key, adjusted)
        self.replace_server()

    def replace_server(self) -> None:
        """Go on at another server."""
        self.timeline += 1
        self._has_new_timeline = True

    def closed_seconds(self) -> float:
        """Return for how long they grant nothing yet."""
        return max(0, self.rows.fleet.recover_until_us - self.clock()) / SECOND_US

    def write_off(self) -> Counter[BudgetKey]:
        """Return D, to which holders that are still silent belong."""
        self._write_off()
        return self.never_restated

    def _write_off(self) -> None:
        for lost in self._lost.values():
            self.never_restated += lost
        self._lost = {}

    async def exchange(self, exchange: Exchange) -> Answer:
        """See SharedBooks.exchange."""
        before = {item.key: dict(self.rows.shares.get(item.key, {})) for item in exchange.items}
        known, was_used = self.rows.holders.get(exchange.uid), self.rows.fleet.timeline > 0
        answer = await super().exchange(exchange)
        self.commits += 1
        if self._has_new_timeline:
            self._has_new_timeline = False
            if was_used:
                self._closed_until_us = answer.now_us + LEARNING_US
        self._check_version(exchange, 0 if known is None else known.version)
        self._check_process(exchange)
        is_repeat = known is not None and known.version == exchange.version
        for item in exchange.items:
            self._check_share(item, exchange.uid, before[item.key], answer.now_us, is_repeat)
        self._note(exchange, answer.now_us)
        return answer

    def _check_version(self, exchange: Exchange, known: int) -> None:
        uid, version = exchange.uid, exchange.version
        if version > known + 1 and uid not in self._has_lost:
            raise BrokenPromiseError(f"G4 version {version} of a holder came after {known}")
        if version < self._accepted.get(uid, 0):
            raise BrokenPromiseError(f"G5 version {version} of a holder was taken after {known}")

    def _check_process(self, exchange: Exchange) -> None:
        uid, process = exchange.uid, (exchange.boot, exchange.nonce)
        if (uid, process) in self._replaced:
            raise BrokenPromiseError("G5 a process was answered that another has replaced")
        if uid in self._current and self._current[uid] != process:
            self._replaced.add((uid, self._current[uid]))
        self._current[uid] = process

    def _check_share(
        self, item: Item, uid: str, before: Mapping[str, ShareRow], now_us: int, is_repeat: bool
    ) -> None:
        key, after = item.key, self.rows.shares[item.key]
        own, had, demand = after[uid], before.get(uid), item.demand
        others = {one: row for one, row in after.items() if one != uid}
        if others != {one: row for one, row in before.items() if one != uid}:
            raise BrokenPromiseError(f"G3 the books changed another holder's share of {key.rule}")
        if had is not None and not counts(key.window, had, now_us):
            had, have = None, 0
        else:
            have = had.granted if is_repeat and had is not None else demand.have
        if own.granted < have:
            raise BrokenPromiseError(
                f"G3 the books lowered a share of {key.rule} from {have} to {own.granted}"
            )
        if own.granted > have and now_us < self._closed_until_us:
            raise BrokenPromiseError(
                f"G8 books that lost commits granted {own.granted - have} of {key.rule}"
            )
        counted = sum(taken(row) for row in others.values() if counts(key.window, row, now_us))
        limit = self._highest.ceiling[key.rule] - self.rows.adjusted.get(key, 0)
        if own.granted > have and counted + taken(own) > limit:
            raise BrokenPromiseError(
                f"G1 of {key.rule} {counted + taken(own)} is taken of {limit}, by a grant"
            )

    def _note(self, exchange: Exchange, now_us: int) -> None:
        uid, version = exchange.uid, exchange.version
        self._accepted[uid] = max(version, self._accepted.get(uid, 0))
        lost = self._lost.get(uid, Counter[BudgetKey]())
        for item in exchange.items:
            lost.pop(item.key, None)
        if version < self._latest.get(uid, 0):
            return  # from before the loss
        self._latest[uid] = version
        self._has_lost.discard(uid)
        self._heard_of[uid] += 1
        if now_us >= self._closed_until_us:
            self._end_learning()

    def _end_learning(self) -> None:
        for uid, lost in self._lost.items():
            for key, amount in lost.items():
                # Its window has not ended; and what is not used of a timeless one is forgotten.
                is_current = key.window is Window.TOTAL
                if amount and is_current and self._heard_of[uid] >= HEARD_OFTEN:
                    raise BrokenPromiseError(
                        f"G8 a holder did not restate its share of {key.rule} while books learnt"
                    )
        self._write_off()


def taken(row: ShareRow) -> int:
    """Return what nobody else may have."""
    return max(row.granted, row.spent + row.held)


def counts(window: Window, row: ShareRow, now_us: int) -> bool:
    """Whether a share may still be used, or has been: only silence ends one, of a timeless limit."""
    if window is Window.MINUTE:
        return now_us < row.seen_us + SILENT_US + MINUTE_US
    if window is Window.CONCURRENT:
        return now_us < max(row.seen_us + SILENT_US, row.busy_until_us + 300_000)
    return True
