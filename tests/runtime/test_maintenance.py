"""The periodic work on a ledger goes on after a failure."""

import asyncio
from typing import cast

import pytest

from sidecar.ledger.protocol import Ledger, LedgerUnavailableError
from sidecar.runtime import maintenance


def test_burn_rates_are_checked_repeatedly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the ledger was unavailable."""
    monkeypatch.setattr(maintenance, "BURN_EVERY_SECONDS", 0)
    times_us: list[int] = []

    class FaultyLedger:
        async def burn(self, at_us: int) -> int:
            times_us.append(at_us)
            if len(times_us) == 1:
                raise LedgerUnavailableError("the disk is full")
            if len(times_us) == 3:
                raise EOFError
            return 0

    work = maintenance.run_maintenance(cast("Ledger", FaultyLedger()), lambda: 7, 0)
    with pytest.raises(EOFError):
        asyncio.run(asyncio.wait_for(work, 10))
    assert times_us == [7, 7, 7]
