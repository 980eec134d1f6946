"""Metrics of budgets: the most recently used ones, read from the ledger."""

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

BATCH = 8
"""Budgets that are read before giving way to decisions."""

Key = tuple[str, str]
"""A rule and a scope."""


class RecentBudgets:
    """Remembers which budgets were used last, and reads their amounts from the ledger.

    Amounts are read for each scrape: an amount counted here would be wrong as soon as a
    hold expires or a window ends.
    """

    def __init__(self, max_budgets: int) -> None:
        """Remember at most so many budgets, and count those dropped for others."""
        self._max_budgets = max_budgets
        self._dropped = Counts(names.BUDGETS_DROPPED, ())
        self._limits: OrderedDict[Key, Limit] = OrderedDict()
        self._budgets: list[Budget] = []

    def on_call(self, decided: Decided) -> None:
        """Remember the budgets of a decision."""
        if not self._max_budgets:
            return
        limits = self._limits
        for line in decided.reservation.lines:
            if line.shadow:
                continue
            limit = line.limit
            key = (limit.rule, limit.scope)
            limits[key] = limit
            limits.move_to_end(key)
            if len(limits) > self._max_budgets:
                limits.popitem(last=False)
                self._dropped.add()

    async def refresh(self, ledger: Ledger, clock: Clock) -> None:
        """Read the budgets, in batches; keep the last ones if the ledger fails."""
        limits, budgets = list(self._limits.values()), list[Budget]()
        for first in range(0, len(limits), BATCH):
            try:
                budgets += ledger.budgets(limits[first : first + BATCH], clock())
            except LedgerUnavailableError:
                return
            await asyncio.sleep(0)
        self._budgets = budgets

    def collect(self) -> Iterator[Metric]:
        """Return the budgets that were read last, as metrics."""
        families = [GaugeMetricFamily(*name[:2], labels=name.labels) for name in names.BUDGETS]
        by_name = {family.name: family for family in families}
        for budget in self._budgets:
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
    """Return an amount in its metric's unit, as a float, since metrics are floats."""
    if amount is None:
        return math.inf
    return amount / NANO_USD_PER_USD if meter is Meter.COST else float(amount)
