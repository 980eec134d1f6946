"""What holders report of their spend, on a real PostgreSQL and from real ledgers."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fleet.places import FleetHolder, PostgresPlace
from fleet.postgres_server import PASSWORD, POD
from support.operator_ledger import OperatorLedger
from support.reservations import limit

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.spend_report import OTHERS, Dimension, SpendReport, Unaccounted
from sidecar.domain.windows import DAY_US, Calendar, Span, Window
from sidecar.fleet import spend as fleet_spend
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.protocol import FleetUnreachableError
from sidecar.fleet.spend import NO_NAMES, SpendReporter, bounded, different
from sidecar.fleet.spend_report import read_spend
from sidecar.ledger import ledger_file, place_in_fleet
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.ledger.shares import Holder, read_holder, write_holder
from sidecar.runtime import spend_reports
from sidecar.runtime.spend_reports import SpendReports

MONTHLY = limit(10**15, Meter.COST, Window.MONTH, rule="monthly")
USUAL = (Dimension.WORKSPACE, Dimension.MODEL)
LONG = "".join(sha256(bytes([number])).hexdigest() for number in range(157))
"""10,048 characters, which no index compresses."""
TOKEN = 1000
"""Its cost in nano-USD, by TARIFF."""


class Reporting:
    """A holder with a ledger, whose spend it reports."""

    def __init__(self, place: PostgresPlace, path: Path, uid: str, now_us: int) -> None:
        """Join the fleet."""
        self.place, self.path, self.now_us = place, path, now_us
        self.kept = OperatorLedger(path)
        self.holder = FleetHolder(place, uid)
        self.holder.tell()
        self.connection = BooksConnection(place.url_file)
        self.reporter = self.new_reporter()

    def new_reporter(self, boot: int = 1, reported_after: int = 0) -> SpendReporter:
        """Return the reporter of a new start."""
        holder = Holder(self.holder.uid, "", boot, 1, 1, reported_after)
        clock = lambda: self.now_us  # noqa: E731 - the time of the test
        return SpendReporter(self.connection, self.path, holder, UTC, clock)

    def report(self) -> None:
        """Report once."""
        self.place.run(self.reporter.report())

    @property
    def key(self) -> BudgetKey:
        """The budget of MONTHLY."""
        start_us = Calendar(UTC).span(Window.MONTH, self.now_us).start_us
        return BudgetKey("monthly", Meter.COST, Window.MONTH, "lab", start_us)

    def exchange(self, granted: int, spent: int, held: int = 0) -> None:
        """Tell the books what it has of MONTHLY."""
        end_us = Calendar(UTC).span(Window.MONTH, self.now_us).end_us
        need = 0 if self.key in self.holder.have else granted - spent - held
        item = self.holder.item(
            need, key=self.key, ceiling=10**15, spent=spent, held=held, end_us=end_us
        )
        self.holder.tell(item)

    def close(self) -> None:
        """Close all."""
        self.connection.close()
        self.kept.close()


Join = Callable[[str], Reporting]


@pytest.fixture
def now_us(postgres: PostgresPlace) -> int:
    """A time by the books, in the middle of a day."""
    now_us = postgres.now_us()
    return now_us - now_us % DAY_US + DAY_US // 2


@pytest.fixture
def join(postgres: PostgresPlace, tmp_path: Path, now_us: int) -> Iterator[Join]:
    """Let holders join the fleet."""
    joined: list[Reporting] = []

    def start(uid: str) -> Reporting:
        joined.append(Reporting(postgres, tmp_path / f"{len(joined)}.sqlite", uid, now_us))
        return joined[-1]

    yield start
    for one in joined:
        one.close()


def fleet_report(place: PostgresPlace, by: tuple[Dimension, ...] = USUAL) -> SpendReport:
    """Return the fleet's spend of the last days."""
    now_us = place.now_us()
    span = Span(now_us - 40 * DAY_US, now_us + DAY_US)
    return place.run(read_spend(place.url_file, by, Dimension.WORKSPACE, span, UTC)).report


def costs(place: PostgresPlace, *by: Dimension) -> dict[tuple[str, ...], int]:
    """Return the fleet's cost by names, in tokens."""
    return {row.names: row.cost_nano_usd // TOKEN for row in fleet_report(place, by).rows}


def rows_of(place: PostgresPlace, columns: str = "*") -> list[Any]:
    """Return all rows of spend."""
    return place.sql(f"SELECT {columns} FROM fleet_spend ORDER BY cost DESC, principal")


async def until(check: Callable[[], bool]) -> None:
    """Wait until a check is true, for a time."""
    for _ in range(2_000):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_the_sum_of_all_holders_is_what_was_spent(postgres: PostgresPlace, join: Join) -> None:
    """By any names and days; as each ledger's own report has it."""
    first, second = join("a"), join("b")
    first.kept.spend(first.now_us - DAY_US, MONTHLY, tokens=5)
    first.kept.spend(first.now_us, MONTHLY, tokens=10, key_id="key-1")
    second.kept.spend(second.now_us, MONTHLY, tokens=20, principal_id="bo", model_id="large-1")
    second.kept.hold(second.now_us, MONTHLY, tokens=7)
    for one in (first, second):
        one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 15, ("bo",): 20}
    assert costs(postgres, Dimension.MODEL, Dimension.KEY) == {
        ("small-1", ""): 5, ("small-1", "key-1"): 10, ("large-1", ""): 20,
    }  # fmt: skip
    assert costs(postgres, Dimension.RULE, Dimension.WORKSPACE) == {("monthly", "lab"): 35}
    assert sorted(costs(postgres, Dimension.DAY).values()) == [5, 30]
    total = fleet_report(postgres).total
    assert (total.calls, total.output_tokens, total.cost_nano_usd) == (3, 35, 35 * TOKEN)
    assert total.daily_cost_nano_usd[-3:-1] == (5 * TOKEN, 30 * TOKEN)


def test_g10_a_report_replaces_the_one_before(postgres: PostgresPlace, join: Join) -> None:
    """G10: repeats, new starts and later settlements count each call once."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    late = one.kept.hold(one.now_us, MONTHLY, tokens=30)
    one.kept.expire(one.now_us + 900 * SECOND_US)
    one.now_us += 900 * SECOND_US
    for _ in range(2):
        one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 40}
    one.kept.settle(late, one.now_us, 4)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 14}
    one.reporter = one.new_reporter()
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 14}
    assert fleet_report(postgres).total.calls == 2


def test_what_changes_on_an_older_day_is_reported_in_an_hour(
    postgres: PostgresPlace, join: Join
) -> None:
    """A hold that expired days ago, and is settled now."""
    one = join("a")
    late = one.kept.hold(one.now_us - 5 * DAY_US, MONTHLY, tokens=30)
    one.kept.expire(one.now_us - 4 * DAY_US)
    one.report()
    one.kept.settle(late, one.now_us, 4)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 30}
    one.now_us += 2 * 3600 * SECOND_US
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 4}


def test_a_report_writes_what_has_changed_alone(postgres: PostgresPlace, join: Join) -> None:
    """A principal without new calls costs PostgreSQL nothing."""
    one = join("a")
    for number in range(5):
        one.kept.spend(one.now_us, tokens=10, principal_id=str(number))
    one.report()
    before = {row["principal"]: row["xmin"] for row in rows_of(postgres, "principal, cost, xmin")}
    one.kept.spend(one.now_us, tokens=10, principal_id="3")
    one.report()
    after = {row["principal"]: row["xmin"] for row in rows_of(postgres, "principal, cost, xmin")}
    assert {name for name in before if before[name] != after[name]} == {"", "3"}  # "": by rule


def test_books_that_lost_reports_get_them_again(postgres: PostgresPlace, join: Join) -> None:
    """G8: what is in the books is what counts, not what was sent."""
    one = join("a")
    for principal in ("ada", "bo"):
        one.kept.spend(one.now_us, tokens=10, principal_id=principal)
    one.report()
    postgres.sql("DELETE FROM fleet_spend WHERE principal = 'bo'")
    one.kept.spend(one.now_us, tokens=1)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 11, ("bo",): 10}


def test_a_report_that_ended_half_way_is_finished(postgres: PostgresPlace, join: Join) -> None:
    """By the next start, from the day on that it had reached, and of both kinds of rows."""
    one = join("a")
    for days in (3, 2, 1):
        one.kept.spend(one.now_us - days * DAY_US, MONTHLY, tokens=10)
    for lost in ("by_rule = 1", f"day_us > {one.now_us - 3 * DAY_US}"):
        one.report()
        postgres.sql(f"DELETE FROM fleet_spend WHERE {lost}")
        one.reporter = one.new_reporter()
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 30}
    assert costs(postgres, Dimension.RULE) == {("monthly",): 30}


def test_invented_names_do_not_fill_the_books(
    postgres: PostgresPlace, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest have rows of their own, and the sum stays right; also when they change."""
    monkeypatch.setattr(fleet_spend, "MAX_PRINCIPALS", 3)
    monkeypatch.setattr(fleet_spend, "MAX_ROWS", 5)
    one = join("a")
    for number in range(20):
        one.kept.spend(one.now_us, tokens=10 + number, principal_id=f"p{number:02}")
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {
        ("p19",): 29, ("p18",): 28, ("p17",): 27, (OTHERS,): 10 * 17 + 136,
    }  # fmt: skip
    for number in range(20):
        one.kept.spend(one.now_us, tokens=1000 - number, principal_id=f"p{number:02}")
        one.report()
    found = costs(postgres, Dimension.PRINCIPAL)
    assert sum(found.values()) == 20 * 1010
    assert found.keys() == {(OTHERS,), ("p00",)}
    assert len([row for row in rows_of(postgres) if not row["by_rule"]]) == 5 + 1


def test_models_and_keys_that_are_invented_are_summed_up_too(
    postgres: PostgresPlace, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a policy lets pass."""
    monkeypatch.setattr(fleet_spend, "MAX_ROWS", 4)
    one = join("a")
    for number in range(30):
        one.kept.spend(one.now_us, tokens=10, key_id=f"key-{number}")
    one.report()
    assert len(rows_of(postgres)) == 2 * (4 + 1)
    assert costs(postgres, Dimension.PRINCIPAL)[(OTHERS,)] + 10 * len(
        [row for row in rows_of(postgres) if row["principal"] == "ada"]
    ) == 300  # fmt: skip
    assert sum(costs(postgres, Dimension.RULE).values()) == 300


@pytest.mark.parametrize(
    "name",
    [
        "a\0b", "it's", '"; DROP TABLE fleet_spend; --', LONG, "\u202e\u2067\u0645\u0631\u062d",
        "$1 %s {0} \\", OTHERS, "",
    ],
    ids=ascii,
)  # fmt: skip
def test_any_name_can_be_reported(postgres: PostgresPlace, join: Join, name: str) -> None:
    """Names are data, of any length."""
    one = join("a")
    names: dict[str, Any] = {"principal_id": name, "key_id": name, "role": name}
    one.kept.spend(one.now_us, MONTHLY, tokens=10, **names)
    for _ in range(2):
        one.report()
    [(found, cost)] = costs(postgres, Dimension.PRINCIPAL, Dimension.KEY).items()
    assert (found[0], cost) == (found[1], 10)
    assert found[0] == name.replace("\0", "�")


def test_a_process_that_was_replaced_reports_nothing(postgres: PostgresPlace, join: Join) -> None:
    """G5: another start of the holder goes on in its place."""
    one = join("a")
    one.exchange(100 * TOKEN, 10 * TOKEN)
    one.holder.boot = 2
    one.holder.tell()
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.report()
    assert rows_of(postgres) == []
    assert postgres.sql("SELECT sum(reported) AS sum FROM fleet_share")[0]["sum"] == 0
    one.reporter = one.new_reporter(boot=2)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 10}


def test_a_day_of_which_calls_were_pruned_stays_as_it_was_reported(
    postgres: PostgresPlace, join: Join
) -> None:
    """What is left of it is not all of it."""
    one = join("a")
    day_us = one.now_us - one.now_us % DAY_US - 3 * DAY_US
    for hours in (1, 20):
        one.kept.spend(day_us + hours * 3600 * SECOND_US, MONTHLY, tokens=10)
    one.report()
    one.kept.spend(one.now_us, MONTHLY, tokens=1)
    assert one.kept.run(one.kept.ledger.prune(one.now_us, 3 * DAY_US)) == 1
    one.reporter = one.new_reporter()
    one.report()
    postgres.sql("DELETE FROM fleet_spend WHERE cost = 1000")  # so that all days are read again
    one.reporter = one.new_reporter()
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 21}


def test_unaccounted_is_what_a_vanished_holder_had(postgres: PostgresPlace, join: Join) -> None:
    """G7: its whole share, less what it had reported; and of a live one, what it reports next."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.exchange(100 * TOKEN, 10 * TOKEN)
    one.report()
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 0, 0)
    one.exchange(100 * TOKEN, 30 * TOKEN, 5 * TOKEN)
    assert fleet_report(postgres).unaccounted == Unaccounted(20 * TOKEN, 0, 0)
    postgres.pass_us(200 * SECOND_US)
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 90 * TOKEN, 1)


def test_unaccounted_counts_a_call_of_several_limits_once(
    postgres: PostgresPlace, join: Join
) -> None:
    """The limit of which the most is missing counts, of each holder."""
    for uid in ("a", "b"):
        one = join(uid)
        one.exchange(100 * TOKEN, 10 * TOKEN)
        total = BudgetKey("total", Meter.COST, Window.TOTAL, "lab", 0)
        tokens = BudgetKey("tokens", Meter.TOKENS, Window.TOTAL, "lab", 0)
        for key, granted in ((total, 70 * TOKEN), (tokens, 700 * TOKEN)):
            one.holder.tell(one.holder.item(granted, key=key, ceiling=10**12))
    postgres.pass_us(200 * SECOND_US)
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 200 * TOKEN, 2)


def test_unaccounted_has_no_share_whose_window_its_holder_outlived(
    postgres: PostgresPlace, join: Join
) -> None:
    """What was left of it when the window ended is nobody's spend."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.exchange(100 * TOKEN, 10 * TOKEN)
    one.report()
    postgres.sql("UPDATE fleet_budget SET window_end_us = 1")
    postgres.pass_us(200 * SECOND_US)
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 0, 0)


def test_unaccounted_is_of_the_days_on_which_holders_were_heard_of_last(
    postgres: PostgresPlace, join: Join
) -> None:
    """Without a limit of cost, nobody knows."""
    one = join("a")
    assert fleet_report(postgres).unaccounted is None
    one.exchange(100 * TOKEN, 10 * TOKEN)
    postgres.pass_us(50 * DAY_US)
    postgres.sql("UPDATE fleet_budget SET window_end_us = window_end_us + 1")
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 0, 0)


def test_what_is_signed_for_a_holder_is_unaccounted(postgres: PostgresPlace, join: Join) -> None:
    """As `sidecar fleet forget` writes it: a share of what was spent."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.exchange(100 * TOKEN, 10 * TOKEN)
    one.report()
    postgres.pass_us(200 * SECOND_US)
    postgres.sql(f"UPDATE fleet_share SET granted = {25 * TOKEN}, spent = {25 * TOKEN}, held = 0")
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 15 * TOKEN, 1)


def test_a_ledger_with_a_new_place_reports_nothing_twice(
    postgres: PostgresPlace, join: Join
) -> None:
    """What it reported from the old place stays there."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.report()
    one.kept.close()
    with ledger_file.sole_writer(one.path) as connection:
        write_holder(connection, Holder("a", "", 1, 1, 1))
    new_uid = place_in_fleet.rejoin(one.path).new_uid
    with ledger_file.sole_writer(one.path) as connection:
        holder = read_holder(connection)
    assert holder is not None
    one.kept = OperatorLedger(one.path)
    one.kept.spend(one.now_us, MONTHLY, tokens=3)
    one.holder = FleetHolder(postgres, new_uid)
    one.exchange(100 * TOKEN, 13 * TOKEN)
    one.reporter = one.new_reporter(reported_after=holder.reported_after)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 13}
    assert fleet_report(postgres).unaccounted == Unaccounted(0, 0, 0)


def test_forecasts_are_by_the_pace_since_the_window_began(
    postgres: PostgresPlace, join: Join
) -> None:
    """The pace of a total is unknown, and what is stranded counts as held."""
    one = join("a")
    one.exchange(100 * TOKEN, 10 * TOKEN, 1 * TOKEN)
    total = BudgetKey("trial", Meter.COST, Window.TOTAL, "lab", 0)
    one.holder.tell(one.holder.item(70, key=total, ceiling=1000))
    postgres.pass_us(200 * SECOND_US)
    monthly, trial = sorted(fleet_report(postgres).forecasts, key=lambda it: it.limit.rule)
    assert (monthly.ceiling, monthly.spent, monthly.held) == (10**15, 10 * TOKEN, 90 * TOKEN)
    assert (monthly.recent, monthly.recent_us) == (
        10 * TOKEN, monthly.at_us - monthly.span.start_us
    )  # fmt: skip
    assert (trial.pace, trial.verdict(UTC), trial.held) == ("unknown", "unknown", 70)


def test_a_ledger_that_cannot_be_read_changes_nothing(postgres: PostgresPlace, join: Join) -> None:
    """Nor do books that are away: the next report has it all."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    one.reporter.stop()
    with pytest.raises(LedgerUnavailableError):
        one.report()
    one.reporter = one.new_reporter()
    url = one.place.url_file.read_text()
    one.connection.close()
    one.place.say_url("postgresql://pod:pod@127.0.0.1:1/books")
    with pytest.raises(FleetUnreachableError):
        one.report()
    one.place.say_url(url)
    one.report()
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 10}


def test_books_that_are_away_are_logged_once_and_tried_again(
    postgres: PostgresPlace,
    join: Join,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing else comes of it."""
    monkeypatch.setattr(spend_reports, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(spend_reports, "REPORTING_PART", 1.0)
    caplog.set_level("INFO")
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    url = one.place.url_file.read_text()
    one.connection.close()
    one.place.say_url("postgresql://pod:hunter2@127.0.0.1:1/books")

    def lines() -> list[str]:
        return [line for line in caplog.messages if "fleet's books" in line]

    async def serve() -> None:
        reporting = asyncio.create_task(SpendReports(one.reporter, lambda: True).run())
        await until(lambda: len(lines()) == 1)
        await asyncio.sleep(0.2)
        one.place.say_url(url)
        await until(lambda: len(lines()) == 2)
        reporting.cancel()

    postgres.run(serve())
    away, again = lines()
    assert (away.startswith("what was spent is not reported"), "hunter2" in away) == (True, False)
    assert again == "what was spent is in the fleet's books again"
    assert costs(postgres, Dimension.PRINCIPAL) == {("ada",): 10}


def test_what_is_no_holder_reports_nothing(postgres: PostgresPlace, join: Join) -> None:
    """As a sidecar that the books have refused (G5), also when it stops."""
    one = join("a")
    one.kept.spend(one.now_us, MONTHLY, tokens=10)
    postgres.run(SpendReports(one.reporter, lambda: False).leave())
    assert rows_of(postgres) == []


def test_what_costs_less_than_before_is_written_first() -> None:
    """A report that ends half way counts no money twice."""
    more, less = NO_NAMES._replace(principal="more"), NO_NAMES._replace(principal="less")
    rows = bounded([(more, (1, 0, 0, 90, 0, 0, 0)), (less, (1, 0, 0, 10, 0, 0, 0))], ())
    known = {more.id: (1, 0, 0, 80, 0, 0, 0), less.id: (2, 0, 0, 100, 0, 0, 0)}
    assert [names.principal for _, names, _ in different(rows, known)] == ["less", "more"]


def test_a_pod_cannot_delete_what_was_spent(postgres: PostgresPlace) -> None:
    """Its role has no right to."""

    async def run() -> None:
        connection = await asyncpg.connect(
            host=str(postgres.server.folder), port=postgres.server.port, user=POD,
            password=PASSWORD, database="books",
        )  # fmt: skip
        try:
            await connection.execute("DELETE FROM fleet_spend")
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(run())
