"""The measure of a fleet's tables runs."""

import pytest
from support.tools import needed

from bench import fleet_size


def test_the_tables_of_a_small_fleet_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after they are pruned."""
    monkeypatch.setattr(fleet_size, "CALLS_A_DAY", 20)
    with needed():
        fleet_size.run(days=9, principals=3, holders=2)
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
    ]
    rows = {line[0]: (line[1], line[4]) for line in lines if len(line) == 6}
    assert (rows["fleet_budget"], rows["fleet_share"]) == (("27", "24"), ("54", "48"))
