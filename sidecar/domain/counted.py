"""Counts with a noun, in the singular or plural."""


def counted(number: int, what: str) -> str:
    """Format a count and its noun, with a plural in -s.

    >>> counted(1, "open hold"), counted(0, "key"), counted(1200, "case")
    ('1 open hold', '0 keys', '1,200 cases')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
