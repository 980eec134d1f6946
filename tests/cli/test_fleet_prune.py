"""`sidecar fleet prune`, on a real PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.places import CONCURRENT, MINUTE, TOTAL, FleetHolder, PostgresPlace
from fleet.postgres_server import OWNER, PostgresServer
from support.commands import Ended, sidecar
from support.tools import needed

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.windows import DAY_US, Window
from sidecar.fleet import prune as fleet_prune

TABLES = (
    "fleet_budget", "fleet_share", "fleet_adjustment", "fleet_forgotten", "fleet_alert",
    "fleet_spend", "fleet_holder",
)  # fmt: skip
ALERT = (
    "(id, channel, kind, rule, scope, window_kind, window_start_us, window_end_us, percent, owner,"
    " until_us)"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One server for all tests of this file."""
    with needed():
        server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def place(server: PostgresServer, tmp_path: Path) -> Iterator[PostgresPlace]:
    """Empty books."""
    place = PostgresPlace(server, tmp_path / "pod.url")
    (tmp_path / "owner.url").write_text(server.url(place.database, OWNER))
    yield place
    place.close()


def prune(place: PostgresPlace, *arguments: str, url: str = "owner.url") -> Ended:
    """Prune the books."""
    file = place.url_file.with_name(url)
    code, out, err = sidecar("fleet", "prune", "--fleet-url-file", file, *arguments)
    assert "Traceback" not in err
    return code, out, err


def counts(place: PostgresPlace) -> list[int]:
    """Return how many rows each table has."""
    return [place.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES]


def day(place: PostgresPlace, days: int) -> BudgetKey:
    """Return a budget of so many days ago."""
    start_us = (place.now_us() // DAY_US - days) * DAY_US
    return BudgetKey("daily", Meter.TOKENS, Window.DAY, "ml", start_us)


def has_been(place: PostgresPlace, days: int, uid: str) -> FleetHolder:
    """Let a holder have a share of a day, with all that belongs to it, and vanish then."""
    holder, key = FleetHolder(place, uid), day(place, days)
    end_us = key.start_us + DAY_US
    holder.ask(key=key, spent=5, end_us=end_us)
    place.adjust(key, 1)
    place.sql(
        f"UPDATE fleet_holder SET seen_us = {end_us} WHERE uid = '{uid}'",
        f"INSERT INTO fleet_forgotten SELECT '{uid}', id, {end_us}, 5, 0, 0, 0, 'ada', ''"
        f" FROM fleet_budget WHERE window_start_us = {key.start_us}",
        f"INSERT INTO fleet_alert {ALERT} VALUES (sha256('{uid}'), 'hook', 'threshold', 'daily', 'ml',"
        f" 'day', {key.start_us}, {end_us}, 50, '', 0)",
        f"INSERT INTO fleet_spend SELECT '{uid}', {key.start_us}, decode('00', 'hex'), 0, '', '',"
        " '', '', '', '', 1, 2, 3, 4, 5, 6, 7",
    )
    return holder


def test_what_ended_long_ago_is_deleted(place: PostgresPlace) -> None:
    """With all that belongs to it, and what is younger stays; a second time there is nothing."""
    has_been(place, 20, "old")
    has_been(place, 3, "young")
    assert counts(place) == [2] * 7
    code, out, err = prune(place, "--keep", "10d", "--format", "json", "--dry-run")
    deleted = dict.fromkeys(fleet_prune.Pruned._fields, 1)
    assert (code, err, json.loads(out)["deleted"]) == (0, "", deleted)
    assert counts(place) == [2] * 7
    code, out, err = prune(place, "--keep", "10d", "--format", "json")
    assert (code, err, json.loads(out)["deleted"]) == (0, "", deleted)
    assert counts(place) == [1] * 7
    assert place.sql("SELECT uid FROM fleet_holder")[0]["uid"] == "young"
    assert prune(place, "--keep", "10d")[1].endswith(": nothing deleted\n")


def test_people_read_how_much_was_deleted(place: PostgresPlace) -> None:
    """And would be."""
    has_been(place, 500, "old")
    rows = "1 budget, 1 share, 1 adjustment, 1 signature, 1 alert, 1 spend row, 1 holder"
    assert prune(place, "--dry-run")[1].endswith(f"(UTC): {rows} would be deleted\n")
    assert prune(place)[1].endswith(f"(UTC): {rows} deleted\n")


def test_windows_that_are_open_or_never_end_keep_their_rows(place: PostgresPlace) -> None:
    """Whatever their holders are: their shares count. So a holder of a total stays, too."""
    holder = FleetHolder(place, "total")
    for key in (TOTAL, MINUTE, CONCURRENT):
        holder.ask(5, key=key)
        place.adjust(key, 1)
    place.sql(
        f"INSERT INTO fleet_alert {ALERT} SELECT id, 'hook', 'threshold', rule, scope, window_kind, 0,"
        " window_end_us, 50, '', 0 FROM fleet_budget",
        "UPDATE fleet_budget SET window_end_us = 1 WHERE window_kind <> 'total'",
    )
    year = BudgetKey("yearly", Meter.COST, Window.YEAR, "ml", place.now_us() - 300 * DAY_US)
    late = FleetHolder(place, "year")
    late.ask(5, key=year, end_us=place.now_us() + DAY_US)
    place.sql(
        f"INSERT INTO fleet_alert {ALERT} SELECT id, 'hook', 'threshold', rule, scope, window_kind,"
        " window_start_us, window_end_us, 50, '', 0 FROM fleet_budget WHERE rule = 'yearly'"
    )
    place.pass_us(600 * DAY_US)
    before = counts(place)
    assert json.loads(prune(place, "--keep", "2d", "--format", "json")[1])["deleted"] == dict.fromkeys(
        fleet_prune.Pruned._fields, 0
    )  # fmt: skip
    assert counts(place) == before


def test_it_deletes_in_batches(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no transaction is long."""
    for number in range(7):
        has_been(place, 20 + number, f"old-{number}")
    monkeypatch.setattr(fleet_prune, "BATCH_BUDGETS", 2)
    monkeypatch.setattr(fleet_prune, "BATCH_ROWS", 2)
    owner = place.url_file.with_name("owner.url")
    before_us = place.now_us() - 10 * DAY_US
    assert place.run(fleet_prune.prune(owner, before_us)) == fleet_prune.Pruned(*[7] * 7)
    assert counts(place) == [0] * 7


def test_a_pod_may_not_prune(place: PostgresPlace) -> None:
    """Its role has no right to delete."""
    has_been(place, 20, "old")
    code, _, err = prune(place, "--keep", "10d", url="pod.url")
    assert (code, "give the URL of the role that made the tables" in err) == (1, True)
    assert counts(place) == [1] * 7


@pytest.mark.parametrize("keep", ["1d", "0d", "-5d", "30", "1000000d", "99999d", "", "forever"])
def test_how_long_is_a_number_of_days(place: PostgresPlace, keep: str) -> None:
    """Two at least: calls of a window that has just ended are still settled."""
    code, _, err = prune(place, f"--keep={keep}")
    assert (code, f"--keep {keep}: has to be a number of days, from 2d to 36500d" in err) == (
        2,
        True,
    )


def test_a_holder_that_comes_back_goes_on(place: PostgresPlace) -> None:
    """It has no place any more, and takes it anew; nothing is granted for ten seconds (G8)."""
    holder: Any = has_been(place, 20, "old")
    prune(place, "--keep", "10d")
    entry = holder.ask(5, key=day(place, 0), end_us=place.now_us() + DAY_US)
    assert (entry.is_closed, counts(place)[-1]) == (True, 1)
