"""Books in memory, by the same rules as those on PostgreSQL."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from sidecar.domain.clock import Clock
from sidecar.domain.sharing import BudgetKey, lapses_us
from sidecar.fleet.books import (
    LIVE_US,
    MAX_SUM,
    BudgetState,
    FleetRow,
    HolderRow,
    Others,
    ShareRow,
    apply,
)
from sidecar.fleet.protocol import Answer, Exchange, SharedBooks


@dataclass
class Rows:
    """All that the books have."""

    fleet: FleetRow
    holders: dict[str, HolderRow] = field(default_factory=dict)
    seen_us: dict[str, int] = field(default_factory=dict)
    """When each holder was seen last."""
    shares: dict[BudgetKey, dict[str, ShareRow]] = field(default_factory=dict)
    short_at_us: dict[BudgetKey, int] = field(default_factory=dict)
    adjusted: dict[BudgetKey, int] = field(default_factory=dict)


class SimulatedBooks(SharedBooks):
    """Books with a clock, a timeline and a server that the test moves."""

    def __init__(self, clock: Clock, fleet_id: str = "simulated", time_zone: str = "UTC") -> None:
        """Begin empty."""
        self.clock = clock
        self.timeline = 1
        self.rows = Rows(FleetRow(fleet_id, time_zone, 0, 0))

    def snapshot(self) -> Rows:
        """Return a copy of the rows, for `restore`."""
        return deepcopy(self.rows)

    def restore(self, rows: Rows) -> None:
        """Go back to a snapshot: what was committed since is lost."""
        self.rows = deepcopy(rows)

    async def exchange(self, exchange: Exchange) -> Answer:
        """See SharedBooks.exchange."""
        rows, now_us, uid = self.rows, self.clock(), exchange.uid
        live = {one for one, at_us in rows.seen_us.items() if at_us > now_us - LIVE_US}
        applied = apply(
            rows.fleet,
            rows.holders.get(uid),
            {item.key: self._state(item.key, uid, now_us) for item in exchange.items},
            exchange,
            timeline=self.timeline,
            holders=len(live | {uid}),
            now_us=now_us,
        )
        rows.fleet, rows.holders[uid], rows.seen_us[uid] = applied.fleet, applied.holder, now_us
        for key, share in applied.shares.items():
            rows.shares.setdefault(key, {})[uid] = share
        rows.short_at_us.update(dict.fromkeys(applied.short, now_us))
        return applied.answer

    async def close(self) -> None:
        """See SharedBooks.close."""

    def counted(self, key: BudgetKey, now_us: int) -> Iterator[tuple[str, ShareRow]]:
        """Yield the shares of a budget that count."""
        for uid, share in self.rows.shares.get(key, {}).items():
            until_us = lapses_us(key.window, share.seen_us, share.busy_until_us)
            if until_us is None or now_us < until_us:
                yield uid, share

    def _state(self, key: BudgetKey, uid: str, now_us: int) -> BudgetState:
        others = [share for other, share in self.counted(key, now_us) if other != uid]
        sums = (
            sum(max(share.granted, share.spent + share.held) for share in others),
            sum(share.spent for share in others),
            sum(share.held for share in others),
            sum(max(0, share.granted - share.spent - share.held) for share in others),
        )
        return BudgetState(
            self.rows.adjusted.get(key, 0),
            self.rows.short_at_us.get(key, 0),
            self.rows.shares.get(key, {}).get(uid),
            Others(*(min(total, MAX_SUM) for total in sums)),
        )
