"""Errors of what was configured name the flag that did it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Turn an error within into a ValueError that begins with the flag."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None
    except OSError as error:
        raise ValueError(f"{flag}: cannot be read: {error.strerror}") from None
