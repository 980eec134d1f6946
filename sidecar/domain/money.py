"""Money as whole nano-USD (10^-9 USD), never as a float."""

from decimal import ROUND_FLOOR, Decimal

NANO_USD_PER_USD = 1_000_000_000


def nano_usd(usd: Decimal) -> int:
    """Convert an amount of USD to whole nano-USD, rounding down.

    Rounding down keeps a ceiling from being widened by its conversion.
    """
    return int((usd * NANO_USD_PER_USD).to_integral_value(ROUND_FLOOR))


def format_usd(amount_nano_usd: int) -> str:
    """Format nano-USD as USD, with at least two decimals and no more than needed.

    >>> format_usd(1_500_000_000_000), format_usd(15_000), format_usd(-20_000_000)
    ('1,500.00', '0.000015', '-0.02')
    """
    sign = "-" if amount_nano_usd < 0 else ""
    whole, fraction = divmod(abs(amount_nano_usd), NANO_USD_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole:,}.{decimals}"


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide whole numbers, rounding up."""
    return -(-numerator // denominator)
