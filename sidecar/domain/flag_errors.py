"""Errors in settings, with the name of their flag."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Turn an error of the block into a ValueError that begins with the flag."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None
    except OSError as error:
        raise ValueError(f"{flag}: cannot be read: {error.strerror}") from None
