"""Opens a ledger file that no sidecar uses, for the work of one command."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import tzinfo
from pathlib import Path
from typing import Any, TypeVar

from sidecar.cli.options import fail
from sidecar.ledger.protocol import LedgerRefusedError, LedgerUnavailableError, NotAdjustableError
from sidecar.ledger.sqlite import SqliteLedger

T = TypeVar("T")


def on_ledger(
    path: Path, zone: tzinfo, work: Callable[[SqliteLedger], Coroutine[Any, Any, T]]
) -> T:
    """Open a ledger, do the work on it, and close it; or print why not and exit 1."""

    async def run() -> T:
        opened = SqliteLedger(path, zone)
        try:
            return await work(opened)
        finally:
            await opened.close()

    if not path.exists():
        raise fail(f"{path}: there is no such ledger")
    try:
        return asyncio.run(run())
    except (LedgerRefusedError, LedgerUnavailableError, NotAdjustableError) as error:
        raise fail(error) from None


def now_us() -> int:
    """Return the time now, in microseconds since the epoch."""
    return time.time_ns() // 1000
