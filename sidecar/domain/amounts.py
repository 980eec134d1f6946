"""Amounts of requests, tokens and money: parsing, and texts for people."""

from decimal import Decimal, InvalidOperation

from sidecar.domain.counted import counted
from sidecar.domain.decisions import Budget, Meter, ReservationLine
from sidecar.domain.money import format_usd, nano_usd
from sidecar.domain.share import WHOLE, Share

AMOUNT_LIMIT = 10**18
"""Requests, tokens or nano-USD of an amount are below this."""

MAX_USED = 2 * AMOUNT_LIMIT
"""The most that is spent and held on a limit without a ceiling, so that sums fit an int64 (L7)."""


def parse_amount(meter: Meter, text: str) -> int:
    """Read a number of requests, tokens or USD (as nano-USD). Raises ValueError, saying why."""
    try:
        exact = Decimal(text)
    except InvalidOperation:
        exact = Decimal("NaN")
    if not exact.is_finite():
        raise ValueError("is not a number")
    # Checked before the conversion to int, since 1e999999999 would take gigabytes.
    if exact.copy_abs() < AMOUNT_LIMIT:
        units = nano_usd(exact) if meter is Meter.COST else int(exact)
        known = units == exact if meter is not Meter.COST else bool(units) == bool(exact)
        if abs(units) < AMOUNT_LIMIT and known:
            return units
    raise ValueError(f"is not a number of {meter.value} that can be counted")


def format_number(meter: Meter, amount: int) -> str:
    """Format an amount without its unit; money always has its dollar sign."""
    return f"${format_usd(amount)}" if meter is Meter.COST else f"{amount:,}"


def short_amount(meter: Meter, amount: int) -> str:
    """Format an amount for a narrow column: `12 req`, `3,400 tok`, `$1.50`."""
    return format_number(meter, amount) + _SHORT_UNITS[meter]


_SHORT_UNITS = {Meter.REQUESTS: " req", Meter.TOKENS: " tok", Meter.COST: ""}


def format_amount(meter: Meter, amount: int | None) -> str:
    """Format an amount with its unit; None is unlimited."""
    if amount is None:
        return "unlimited"
    if meter is Meter.COST:
        return format_number(meter, amount)
    return counted(amount, meter.value.removesuffix("s"))


def format_estimate(meter: Meter, amount: int) -> str:
    """Format an estimate: its first three digits, rounded down."""
    unit = 10 ** max(0, len(str(abs(amount))) - 3)
    return f"≈ {format_number(meter, amount // unit * unit)}"


def format_room(amount: int, budget: Budget, share: Share = WHOLE, idle: int = 0) -> str:
    """Format the amount that a refused call requested, and what is left of the ceiling.

    `idle` is what other sidecars of a fleet have of it and do not use.
    """
    requested = format_amount(budget.meter, amount)
    left, ceiling = (
        format_number(budget.meter, part or 0) for part in (budget.remaining, budget.ceiling)
    )
    part = "" if share == WHOLE else f", a share of {share}"
    ends = budget.window_start_us is None or budget.window_end_us is not None
    never = "" if ends else ", never renewed"
    others = f", {format_number(budget.meter, idle)} held ready by other sidecars" if idle else ""
    return f"(requested {requested}, {left} left of {ceiling}{part}{others}{never})"


def format_larger(amount: int, budget: Budget, share: Share = WHOLE) -> str:
    """Format that a call requests more than the whole ceiling of a limit."""
    ceiling = format_amount(budget.meter, budget.ceiling)
    part = "" if share == WHOLE else f"this sidecar's share, {share}, of "
    if not budget.ceiling:
        return f"{part}the budget of {budget.rule} is {ceiling}, which lets no call through"
    return (
        f"this call may take {format_amount(budget.meter, amount)}, more than {part}the whole"
        f" budget of {budget.rule}, {ceiling}"
    )


def fits(ceiling: int | None, used: int, amount: int) -> bool:
    """Whether an amount fits under a ceiling, of which this much is spent and held (L1).

    A call that takes nothing fits however much is used; but a ceiling of 0 stops it, too.
    """
    if ceiling is None:
        return amount == 0 or used + amount <= MAX_USED
    if amount == 0:
        return ceiling > 0 or used < 0
    return used + amount <= ceiling


def format_reservation(line: ReservationLine, budget: Budget) -> str:
    """Format the arithmetic of a limit: spent, held, what the call adds, and the ceiling."""
    total = budget.spent + budget.held + line.amount
    spent, held, requested, used, ceiling = (
        format_amount(budget.meter, amount)
        for amount in (budget.spent, budget.held, line.amount, total, budget.ceiling)
    )
    sum_ = f"{spent} spent + {held} held + {requested} for this call = {used}"
    if budget.ceiling is None:
        return f"{sum_}; unlimited"
    if line.amount == 0 and budget.ceiling > 0:
        return f"{sum_} of {ceiling}, of which this call takes nothing"
    is_within = fits(budget.ceiling, budget.spent + budget.held, line.amount)
    return f"{sum_}, {'within' if is_within else 'above'} {ceiling}"
