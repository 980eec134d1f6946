"""Shares on a ledger's disk."""

from contextlib import closing
from pathlib import Path

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import NO_SHARE, BudgetKey
from sidecar.domain.windows import FOREVER_US, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.shares import Shares

HOURLY = BudgetKey("hourly", Meter.COST, Window.HOUR, "ada", 0)


def test_shares_of_windows_that_ended_are_deleted(tmp_path: Path) -> None:
    """One for each principal and hour would fill memory and disk; those without an end stay."""
    with closing(ledger_file.open_writer(tmp_path / "ledger.sqlite")) as connection:
        shares = Shares(connection)
        shares.put(HOURLY, 100, NO_SHARE)
        shares.put(HOURLY._replace(start_us=100), 200, NO_SHARE)
        shares.put(HOURLY._replace(window=Window.MINUTE), FOREVER_US, NO_SHARE)
        shares.drop_ended(100)
        kept = [(key.window, end_us) for key, end_us, _ in Shares(connection).all()]
    assert kept == [(Window.HOUR, 200), (Window.MINUTE, FOREVER_US)]
