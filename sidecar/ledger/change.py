"""Changes: results that a caller gets once they are on disk."""

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class Change(asyncio.Future[T]):
    """The future of a change to the ledger: its result, once that is on disk.

    A change that is `firm` will be done, so `cancel` does nothing. A task that is cancelled while
    it waits for such a change ends when the change is on disk; so does a timeout around it.
    """

    firm = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless it is firm; return whether that was done."""
        return not self.firm and super().cancel(msg)

    def abandon(self) -> None:
        """Cancel it in any case: it is unknown whether it is on disk."""
        super().cancel()


class NotYetError(Exception):
    """The work has to wait for something else; it has written nothing, and is repeated then."""

    def __init__(self, until: asyncio.Future[None], since_us: int) -> None:
        """Repeat the work when this is done; if that fails, the change fails in the same way.

        It waits since then, by the steady clock of what it waits for.
        """
        super().__init__()
        self.until = until
        self.since_us = since_us


def same(result: T) -> T:
    """Return the result as it is."""
    return result


def known(result: T) -> Change[T]:
    """Return a change whose result needs no commit."""
    change: Change[T] = Change()
    change.set_result(result)
    return change
