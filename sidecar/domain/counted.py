"""Numbers of things, as people write them."""


def counted(number: int, what: str) -> str:
    """Write how many there are of what has a plural in -s.

    >>> counted(1, "open hold"), counted(0, "key"), counted(1200, "case")
    ('1 open hold', '0 keys', '1,200 cases')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
