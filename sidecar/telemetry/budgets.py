"""The budgets that metrics show: those used last, up to a number, read from the ledger."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from sidecar.domain.clock import Clock
from sidecar.domain.decisions import Budget, Limit, Meter
from sidecar.domain.money import NANO_USD_PER_USD
from sidecar.ledger.protocol import Ledger, LedgerUnavailableError
from sidecar.telemetry import names
from sidecar.telemetry.calls import Decided
from sidecar.telemetry.counters import Counts
from sidecar.telemetry.labels import label

AT_ONCE = 8
"""Budgets that are read before decisions may go first."""

Key = tuple[str, str]
"""A rule and a scope."""


class RecentBudgets:
    """Remembers which budgets were used, and asks the ledger how they stand.

    No amount is kept here: one that is would differ from the ledger as soon as a hold
    expires or a window ends.
    """

    def __init__(self, at_most: int) -> None:
        """Remember so many, and count those that had to make room."""
        self._at_most = at_most
        self._dropped = Counts(names.BUDGETS_DROPPED, ())
        self._limits: OrderedDict[Key, Limit] = OrderedDict()
        self._standing: list[Budget] = []

    def on_call(self, decided: Decided) -> None:
        """Remember the budgets of a decision."""
        if not self._at_most:
            return
        limits = self._limits
        for line in decided.reservation.lines:
            if line.shadow:
                continue
            limit = line.limit
            key = (limit.rule, limit.scope)
            limits[key] = limit
            limits.move_to_end(key)
            if len(limits) > self._at_most:
                limits.popitem(last=False)
                self._dropped.add()

    async def refresh(self, ledger: Ledger, clock: Clock) -> None:
        """Read how they stand, a few at a time; keep what was read if the ledger fails."""
        limits, balance = list(self._limits.values()), list[Budget]()
        for first in range(0, len(limits), AT_ONCE):
            try:
                balance += ledger.budgets(limits[first : first + AT_ONCE], clock())
            except LedgerUnavailableError:
                return
            await asyncio.sleep(0)
        self._standing = balance

    def collect(self) -> Iterator[Metric]:
        """Write what was read last."""
        families = [GaugeMetricFamily(*name[:2], labels=name.labels) for name in names.BUDGETS]
        by_name = {family.name: family for family in families}
        for budget in self._standing:
            labels = (label(budget.rule), label(budget.scope))
            unit = names.UNITS[budget.meter.value]
            for name, amount in (
                (names.CEILING, budget.ceiling),
                (names.REMAINING, budget.remaining),
            ):
                by_name[name.format(unit=unit)].add_metric(labels, _amount(budget.meter, amount))
        yield from families
        yield self._dropped.family()


def _amount(meter: Meter, amount: int | None) -> float:
    """Return an amount in the unit of its metric. Only here, for showing, it is a float."""
    if amount is None:
        return math.inf
    return amount / NANO_USD_PER_USD if meter is Meter.COST else float(amount)
