"""Fixtures of ledgers. A new backend is tested once it is in BACKENDS."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import Ledger
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import VerifyFinding, verify

T = TypeVar("T")

BACKENDS: dict[str, Callable[[Path], Ledger]] = {"sqlite": SqliteLedger}


class LedgerHarness:
    """A ledger with an event loop to run it on."""

    def __init__(self, open_ledger: Callable[[Path], Ledger], path: Path) -> None:
        """Open the ledger."""
        self.path = path
        self._open = open_ledger
        self.loop = asyncio.new_event_loop()
        self.ledger = open_ledger(path)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.loop.run_until_complete(work)

    def together(self, *work: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        """Run all at once, so that they share transactions."""

        async def all_of_it() -> list[T | BaseException]:
            return await asyncio.gather(*work, return_exceptions=True)

        return self.run(all_of_it())

    def reopen(self) -> None:
        """Close the ledger and open it again."""
        self.offline(lambda _: None)

    def offline(self, work: Callable[[Path], T]) -> T:
        """Close the ledger, do some work on its file, and open it again."""
        self.run(self.ledger.close())
        try:
            return work(self.path)
        finally:
            self.ledger = self._open(self.path)

    def findings(self) -> list[VerifyFinding]:
        """Return what `sidecar ledger verify` finds."""
        found, _ = verify(ledger_file.open_reader(self.path))
        return found

    def close(self) -> None:
        """Close everything."""
        self.run(self.ledger.close())
        self.loop.close()


@pytest.fixture(params=BACKENDS)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerHarness]:
    """A fresh ledger of each backend, which has to pass verification at the end of the test."""
    one = LedgerHarness(BACKENDS[request.param], tmp_path / "ledger.sqlite")
    yield one
    found = one.findings()
    one.close()
    assert found == []
