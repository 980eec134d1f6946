"""The spend report: spend by dimension, and budgets, for the table, the JSON and the page."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Any

from sidecar.domain.clock import format_date, format_time
from sidecar.domain.counted import counted
from sidecar.domain.forecast import METHOD, BudgetForecast
from sidecar.domain.money import ceil_div, format_usd
from sidecar.domain.retirement import Retirement
from sidecar.domain.windows import Span

MARKS = "▁▂▃▄▅▆▇█"


COUNTED = (
    "Spend is what budgets were charged: by calls that were settled, and at their worst case by "
    "calls that expired, on the day they were authorized. What every limit of cost has released of "
    "a call that expired (on_expiry: release) stands beside it, in no sum, as unknown outcome. "
    "What no limit counts is never released. By rule, a call counts for each limit that it was "
    "held on, so the rows add up to more than the total. What a budget has spent is what the "
    "ledger compares with its ceiling."
)


OTHERS = "(others)"
"""The name of what is too much to report by name."""


RETIREMENTS = "Models that were spent on, and retire"


class Dimension(StrEnum):
    """The dimensions that spend can be divided by."""

    WORKSPACE = "workspace"
    ROLE = "role"
    PRINCIPAL = "principal"
    MODEL = "model"
    KEY = "key"
    RULE = "rule"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Spend:
    """The spend of the calls with the same names. Open and released holds are not spend."""

    names: tuple[str, ...]
    """One for each dimension; "" where a call has no key, or no limit."""
    daily_cost_nano_usd: tuple[int, ...]
    """For each day of the report; a call counts on the day of its authorization."""
    calls: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    overruns: int
    expired: int
    unknown_cost_nano_usd: int
    """Held for calls that expired, and charged to no budget; in no other sum."""

    def share(self, total: "Spend") -> str:
        """Format its part of the total cost, to a tenth of a percent."""
        if not total.cost_nano_usd:
            return ""
        permille = (2000 * self.cost_nano_usd + total.cost_nano_usd) // (2 * total.cost_nano_usd)
        return f"{permille // 10}.{permille % 10} %"

    def figures(self, total: "Spend") -> tuple[str, ...]:
        """Format the figures that `headings` names."""
        unknown = (f"${format_usd(self.unknown_cost_nano_usd)}",)
        return (
            f"{self.calls:,}",
            f"{self.input_tokens:,}",
            f"{self.output_tokens:,}",
            f"${format_usd(self.cost_nano_usd)}",
            self.share(total),
            f"{self.overruns:,}",
            f"{self.expired:,}",
            *(unknown if total.unknown_cost_nano_usd else ()),
        )

    def headings(self) -> tuple[str, ...]:
        """Return the names of the figures of this total and its rows."""
        known = (
            "calls", "input tokens", "output tokens", "cost", "share", "overruns", "expired",
        )  # fmt: skip
        return (*known, "unknown outcome") if self.unknown_cost_nano_usd else known


SUM_NAMES = (
    "calls", "input_tokens", "output_tokens", "cost", "overruns", "expired", "unknown_cost"
)  # fmt: skip
"""The sums of Spend, in their order."""
COST = SUM_NAMES.index("cost")


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """Money that a fleet's books count as spent, and that no sidecar has reported by name."""

    live_nano_usd: int
    """Of sidecars that are live: what they spent since their last report."""
    gone_nano_usd: int
    """Of those that are gone."""
    gone: int
    """How many these are."""

    @property
    def total_nano_usd(self) -> int:
        """Both."""
        return self.live_nano_usd + self.gone_nano_usd


def sums_of(row: Spend) -> tuple[int, ...]:
    """Return the sums of a row, as SUM_NAMES names them."""
    return (
        row.calls,
        row.input_tokens,
        row.output_tokens,
        row.cost_nano_usd,
        row.overruns,
        row.expired,
        row.unknown_cost_nano_usd,
    )


def spend_rows(
    found: Iterable[Sequence[Any]], by: Sequence[Dimension], dates: Sequence[str]
) -> list[Spend]:
    """Return the spend of all days, from the sums of each: names, its date, then the sums of Spend.

    By cost descending; by names when divided by day.
    """
    number = {date: index for index, date in enumerate(dates)}
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(SUM_NAMES))
    daily: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(dates))
    for row in found:
        names, date, counts = tuple(row[: len(by)]), row[len(by)], row[len(by) + 1 :]
        sums[names] = [a + b for a, b in zip(sums[names], counts, strict=True)]
        daily[names][number[date]] += counts[COST]
    rows = [Spend(names, tuple(daily[names]), *sums[names]) for names in sums]
    by_day = Dimension.DAY in by
    return sorted(rows, key=lambda row: (0 if by_day else -row.cost_nano_usd, row.names))


@dataclass(frozen=True, slots=True)
class SpendReport:
    """All that `sidecar spend` shows, from one snapshot."""

    at_us: int
    zone: tzinfo
    by: tuple[Dimension, ...]
    days: tuple[Span, ...]
    rows: tuple[Spend, ...]
    total: Spend
    """Each call counted once. By rule, a call counts for each limit, so rows add up to more."""
    forecasts: tuple[BudgetForecast, ...]
    """For each budget of an hour or longer with a ceiling; the most urgent first."""
    retirements: tuple[Retirement, ...]
    """Of the models that were spent on in these days; the first to retire first."""

    method: str = METHOD
    """How the forecasts are made."""
    counted: str = COUNTED
    """What counts as spend."""
    unaccounted: Unaccounted | None = None
    """Of a fleet with a limit of cost."""

    @property
    def dates(self) -> list[str]:
        """The days, as in 2026-11-01; the last may not be over."""
        return [format_date(day.start_us, self.zone) for day in self.days]

    @property
    def retirement_headings(self) -> tuple[str, ...]:
        """The names of the columns of `retirement_rows`."""
        return "model", f"retires on ({self.zone})", "replaced by"

    @property
    def retirement_rows(self) -> list[tuple[str, ...]]:
        """The retirements as texts, a row each."""
        return [
            (model, format_time(retires_us, self.zone), replaced_by or "(none named)")
            for model, retires_us, replaced_by in self.retirements
        ]


def days_in_group(days: Sequence[object], most: int) -> int:
    """Return how many neighbouring days to add up to get at most this many groups."""
    return max(1, ceil_div(len(days), most))


def grouped(daily: Sequence[int], most: int) -> list[int]:
    """Add up the amounts of neighbouring days."""
    step = days_in_group(daily, most)
    return [sum(daily[start : start + step]) for start in range(0, len(daily), step)]


def stacked(rows: Sequence[Spend], layers: int, most_days: int) -> list[tuple[str, list[int]]]:
    """Return the daily cost of each row by its first name; rows after `layers` are added up."""
    found = [(row.names[0], grouped(row.daily_cost_nano_usd, most_days)) for row in rows]
    shown, rest = found[:layers], found[layers:]
    if rest:
        together = [sum(column) for column in zip(*(daily for _, daily in rest), strict=True)]
        shown.append((counted(len(rest), "other"), together))
    return shown


def sparkline(values: Sequence[int]) -> str:
    """Draw amounts as bars of eight heights, scaled to the largest; a dot for 0."""
    top = max(values, default=0)
    return "".join(MARKS[ceil_div(8 * value, top) - 1] if value > 0 else "·" for value in values)
