"""Changes: results that a caller gets once they are on disk."""

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class Change(asyncio.Future[T]):
    """The result of a change, once it is on disk.

    Once it is `firm`, it cannot be cancelled: a caller that is cancelled meanwhile is so when
    the change is on disk.
    """

    firm = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless it is firm; return whether that was done."""
        return not self.firm and super().cancel(msg)

    def abandon(self) -> None:
        """Cancel it in any case: it is unknown whether it is on disk."""
        super().cancel()


def same(result: T) -> T:
    """Return the result as it is."""
    return result


def done(result: T) -> Change[T]:
    """Return a change that is on disk already."""
    change: Change[T] = Change()
    change.set_result(result)
    return change
