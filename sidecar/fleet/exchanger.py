"""The exchanger: brings a ledger's shares and the fleet's books together, one exchange at a time.

    a call lacks a share ─▶ ask ─┐
    a period has passed ─────────┴▶ prepare (what is given back falls on disk) ─▶ books ─▶ adopt
                                     (what is granted rises on disk) ─▶ the call is decided again

A share falls on this disk before the books know, and rises after (G3). An exchange that was not
answered is repeated as it was, with the same version (G4).
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random, SystemRandom

from sidecar.domain.clock import SECOND_US, Clock
from sidecar.domain.decisions import Limit
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import MAX_LATE_US, TIMELESS, BudgetKey, Demand, FleetState, period_us
from sidecar.domain.windows import FOREVER_US, Span, Window
from sidecar.fleet.contact import Contact
from sidecar.fleet.ledger import FleetLedger
from sidecar.fleet.load import Load, Use
from sidecar.fleet.protocol import (
    Answer,
    Entry,
    Exchange,
    FleetRefusedError,
    FleetUnreachableError,
    Item,
    SharedBooks,
)
from sidecar.fleet.waiters import AGAIN_SECONDS, Asked, Told, Waiter, Waiters
from sidecar.ledger.change import NotYetError
from sidecar.ledger.fleet_balances import Lack, budget_key
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.ledger.shares import Holder

log = logging.getLogger(__name__)

MAX_ITEMS = 100
"""Budgets in one exchange, which has a second, also with 1,000 holders of each. The rest follow at
once."""
DROP_EVERY_US = 60 * SECOND_US
"""How often shares of windows that have ended are deleted."""
REFUSED_SECONDS = 1.0
"""How long until books that refuse this holder are tried again: a person may have mended it."""
EARLY_US = 60 * SECOND_US
"""How long before a window begins a holder that uses the one before asks for a share, at most."""
LEAVE_SECONDS = 2.0
"""How long a holder that stops tries to give back what it does not use."""


class Exchanger:
    """Asks the fleet's books for a ledger's shares. It is the `Asker` of its ledger."""

    def __init__(
        self,
        books: SharedBooks,
        steady_clock: Clock,
        time_zone: str,
        name: str,
        random: Random | None = None,
    ) -> None:
        """Exchange with the books; the steady clock has no steps. The name is for people."""
        self._time_zone = time_zone
        self._books = books
        self._steady = steady_clock
        self._name = name
        self._random = random or SystemRandom()
        self._nonce = self._new_uid()
        self._early_us = int(self._random.uniform(0.3, 1.0) * EARLY_US)
        self._load = Load()
        self._contact = Contact(steady_clock)
        self._waiting = Waiters(steady_clock)
        self._wanted = asyncio.Event()
        self.has_tried = asyncio.Event()
        """Whether the first exchange has ended, well or not: it has a deadline."""
        self._pending: Exchange | None = None
        self._has_shares = self._has_more = False
        self._drops_from_us = 0
        self._clock: Clock
        self._ledger: FleetLedger
        self._holder: Holder

    # What the ledger asks: see Asker.

    def is_trusted(self, window: Window, ttl_us: int) -> bool:
        """See Asker.is_trusted."""
        return self._contact.is_trusted(window, ttl_us)

    def is_refused(self, key: BudgetKey, amount: int, ceiling: int) -> bool:
        """See Asker.is_refused."""
        return self._waiting.is_refused(key, amount, ceiling)

    def ask(
        self, lacks: Sequence[Lack], takes: Mapping[BudgetKey, int], since_us: int | None
    ) -> NotYetError:
        """See Asker.ask."""
        not_yet = self._waiting.add(lacks, takes, since_us)
        if self._contact.refused is not None:
            self._waiting.fail(FleetUnreachableError(str(self._contact.refused)))
            return not_yet
        self._wanted.set()
        return not_yet

    def held(self, key: BudgetKey, end_us: int, limit: Limit, amount: int, largest: int) -> None:
        """See Asker.held."""
        self._load.know(key, end_us, limit).note(limit, amount, largest)

    def closed(self, key: BudgetKey, end_us: int, limit: Limit) -> None:
        """See Asker.closed."""
        self._load.know(key, end_us, limit)

    def problem(self) -> str:
        """Return why no call is admitted by shares; empty where some are."""
        return self._contact.problem(has_shares=self._has_shares)

    def state(self) -> FleetState:
        """Return what is known of the fleet."""
        return self._contact.state()

    def _new_uid(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    # The life of a holder.

    async def start(self, ledger: FleetLedger, clock: Clock) -> None:
        """Begin a new start of the ledger as a holder, durably; the clock is that of decisions."""
        self._ledger, self._clock = ledger, clock
        before = ledger.holder() or Holder(self._new_uid(), "", 0, 0, 0)
        self._holder = before._replace(boot=before.boot + 1)
        await ledger.in_transaction(lambda: ledger.write_holder(self._holder))
        self._know_all()

    def _know_all(self) -> None:
        """Know of all budgets of which it has used or may use something."""
        balances = self._ledger.balances
        # What was used before it joined counts, too: by a sidecar alone, or with --share.
        for key, end_us, limit in balances.in_use(self._ledger.time_us(self._clock())):
            self._load.know(key, end_us, limit)
        for key, end_us, share in balances.shares.all():
            self._has_shares = self._has_shares or share.granted > 0
            limit = Limit(key.rule, key.meter, key.window, key.scope, share.ceiling)
            self._load.know(key, end_us, limit)

    async def run(self) -> None:
        """Exchange until cancelled: once a period, and whenever a call waits."""
        try:
            while True:
                pause_seconds = await self._turn()
                self.has_tried.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_seconds):
                        await self._wanted.wait()
        finally:
            self.has_tried.set()

    async def leave(self) -> None:
        """Give back what is not used, as far as the books answer."""
        self._waiting.fail(FleetUnreachableError("this sidecar stops"))
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                while self._pending is not None:  # it may have been booked
                    await self._exchange()
                await self._exchange(leaving=True)
        except (TimeoutError, SidecarError, FleetRefusedError) as error:
            log.warning("what this sidecar does not use stays in its share: %s", error)

    async def _turn(self) -> float:
        """Exchange once; return how long to wait for the next time, unless a call waits."""
        self._wanted.clear()
        is_repeat = self._pending is not None
        try:
            await self._exchange()
        except FleetRefusedError as refused:
            self._contact.refused = refused
            self._lost(FleetUnreachableError(str(refused)))
            return REFUSED_SECONDS
        except (FleetUnreachableError, LedgerUnavailableError) as error:
            self._lost(error)
            return AGAIN_SECONDS
        if self._has_more:
            return 0.0
        if self._waiting:
            return 0.0 if is_repeat or self._waiting.has_room else AGAIN_SECONDS
        return period_us(self._contact.holders) / SECOND_US * self._random.uniform(0.8, 1.2)

    async def _exchange(self, *, leaving: bool = False) -> None:
        ledger, waiting = self._ledger, self._waiting.all()
        if self._pending is None:
            self._pending = await ledger.in_transaction(
                lambda: self._prepare(waiting, leaving=leaving)
            )
        began_us, said = self._steady(), self._pending
        answer = await self._books.exchange(said)
        answered_us = self._steady()
        if answer.timeline < self._holder.timeline:
            raise FleetUnreachableError("an old primary answers, which another has replaced")
        holder = self._holder._replace(
            version=self._pending.version,
            timeline=max(self._holder.timeline, answer.timeline),
            fleet_id=answer.fleet_id,
        )
        await ledger.in_transaction(lambda: self._adopt(answer, holder))
        self._holder, self._pending = holder, None
        self._contact.heard(answer, began_us, self._clock())
        told = {
            item.key: Told(entry, item.ceiling)
            for item, entry in zip(said.items, answer.entries, strict=True)
        }
        self._waiting.tell(waiting, told, self._free, began_us, answered_us)

    def _prepare(self, waiting: Sequence[Waiter], *, leaving: bool) -> Exchange:
        """Return what to say, in a transaction in which what is given back falls on disk."""
        now_us = self._clock()
        self._ledger.balances.write()  # which notes the load
        self._load.measure(self._steady())
        self._expect_next_windows(now_us)
        self._contact.prepare(self._ledger.balances.busy_us(now_us))
        asked: dict[BudgetKey, Asked] = {}
        taken = Counter[BudgetKey]()
        for waiter in waiting:
            taken.update(waiter.takes)
            for lack in waiter.lacks:
                use = self._load.know(lack.key, lack.end_us, lack.limit)
                asked.setdefault(lack.key, Asked(use.limit.ceiling)).add(lack)
        items: list[Item] = []
        self._has_more = False
        for use in sorted(self._load.all(), key=lambda use: use.key not in asked):
            if len(items) == MAX_ITEMS:
                self._has_more = True
                break
            amounts: Sequence[int] = ()
            if use.key in asked:
                use.limit, amounts = asked[use.key].next()
            item = self._item(use, amounts, taken[use.key], now_us, leaving=leaving)
            if use.key in asked or use.has_news(item.demand):
                items.append(item)
                use.booked = item.demand
            elif use.is_over(now_us) or (use.is_unused and item.demand.have <= item.demand.used):
                self._load.drop(use.key)
                # Others are told again if the books lose commits; these lapse there by silence.
                if not item.demand.have and use.key.window in TIMELESS:
                    self._ledger.balances.shares.drop(use.key)
        self._drop_ended(now_us)
        holder = self._holder
        return Exchange(
            holder.uid,
            holder.boot,
            self._nonce,
            holder.version + 1,
            holder.timeline,
            holder.fleet_id,
            self._time_zone,
            self._name,
            items,
        )

    def _drop_ended(self, now_us: int) -> None:
        """Delete shares that are of no use any more: what they were for is in the budgets."""
        if self._steady() >= self._drops_from_us:
            self._drops_from_us = self._steady() + DROP_EVERY_US
            self._ledger.balances.shares.drop_ended(now_us - MAX_LATE_US)

    def _expect_next_windows(self, now_us: int) -> None:
        """Ask for shares of windows that begin soon, some time before: not all holders at once."""
        for use in self._load.all():
            if not use.per_second or use.end_us - now_us > self._early_us:
                continue
            limit = use.limit
            span = self._ledger.balances.span(limit.window, use.end_us, limit.anchor)
            self._load.expect(use, budget_key(limit, span), span.end_us)

    def _item(
        self, use: Use, asked: Sequence[int], taken: int, now_us: int, *, leaving: bool
    ) -> Item:
        balances, limit = self._ledger.balances, use.limit
        share = balances.shares.get(use.key)
        span = Span(use.key.start_us, use.end_us)
        spent, held = balances.own(limit, span, max(now_us, span.start_us))
        use.used = spent + held
        if asked and (limit.ceiling or 0) < share.ceiling and share.granted > use.used:
            # Of what is free, only other calls had a use: it was granted under their ceiling.
            share = share._replace(granted=max(0, use.used))
            balances.put_share(use.key, use.end_us, share)
        demand = use.demand(share, spent, held, self._contact.holders, asked)
        if leaving or not (demand.need or demand.wish):
            # An exchange that asks does not give back: two holders would wait for each other.
            # Nor what a call takes that waits for another budget: it would wait for that next.
            keeps = use.kept(share, spent + held, self._contact.holders, leaving=leaving)
            keeps = max(keeps, min(spent + held + taken, share.granted))
            if keeps < share.granted:
                share = share._replace(granted=keeps)
                balances.put_share(use.key, use.end_us, share)
            demand = Demand(share.granted, spent, held)
        elif not balances.shares.has(use.key):
            # A new start has to know that the books may have granted it something.
            balances.put_share(use.key, use.end_us, share)
        busy_us = self._contact.busy_us if use.key.window is Window.CONCURRENT else 0
        return Item(use.key, use.end_us, limit.ceiling or 0, demand, busy_us)

    def _adopt(self, answer: Answer, holder: Holder) -> None:
        """Write what the books say, in a transaction."""
        balances = self._ledger.balances
        has_new_server = answer.timeline > self._holder.timeline
        if answer.is_learning and (has_new_server or not self._contact.is_learning):
            self._know_all()  # G8: to be restated
            self._load.restate()
        for entry in answer.entries:
            use = self._load.get(entry.key)
            balances.put_share(entry.key, FOREVER_US if use is None else use.end_us, entry.share)
            if use is not None:
                use.hear(entry)
        self._ledger.write_holder(holder)

    def _free(self, entry: Entry) -> int:
        """Return what of a share was not used when the exchange began."""
        use = self._load.get(entry.key)
        return 0 if use is None else entry.share.granted - use.used

    def _lost(self, error: SidecarError) -> None:
        """Fail the calls that wait."""
        self._contact.lost(error)
        self._waiting.fail(error)
