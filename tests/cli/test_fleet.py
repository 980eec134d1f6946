"""`sidecar fleet …` on a real PostgreSQL."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.places import CONCURRENT, TOTAL, FleetHolder, PostgresPlace
from fleet.postgres_server import OWNER, PASSWORD, POD, WRITTEN_PASSWORD, PostgresServer
from support.commands import Ended, sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester
from support.tools import needed

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import BudgetKey
from sidecar.domain.windows import DAY_US, Window
from sidecar.fleet import operations, orphans, schema
from sidecar.fleet.protocol import FencedError, FleetRefusedError

SIGNED = ("--by", "ada@example.com", "--reason", "its node was lost")
USD = 10**9
SECRETS = (PASSWORD, WRITTEN_PASSWORD, "s3cret", "tr1cky")
HOSTILE = "[b]x[/] :cat:\x1b[2J\u202e\nFORGED"
EMPTY = ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
Start = Callable[..., RunningSidecar]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One server for all tests of this file."""
    with needed():
        server = PostgresServer()
    yield server
    server.remove()


class Fleet:
    """Books on PostgreSQL, and commands on them."""

    def __init__(self, place: PostgresPlace, folder: Path) -> None:
        """Write the files of both URLs."""
        self.place, self.sql = place, place.sql
        self.pod_url, self.owner_url = place.url_file, folder / "owner.url"
        self.owner_url.write_text(place.server.url(place.database, OWNER))

    def __call__(self, command: str, *arguments: object, url: Path | None = None) -> Ended:
        """Run a command with the owner's URL, or another; it says nothing secret."""
        file = url or self.owner_url
        code, out, err = sidecar("fleet", command, "--fleet-url-file", file, *arguments)
        assert "Traceback" not in err
        for text in (out, err):
            assert not [secret for secret in SECRETS if secret in text], text
            assert not {c for c in text if not (c.isprintable() or c == "\n")}, ascii(text)
            assert not [line for line in text.splitlines() if line.startswith("FORGED")]
        return code, out, err

    def status(self, *arguments: object) -> Any:
        """Return the status."""
        code, out, err = self("status", "--format", "json", *arguments, url=self.pod_url)
        assert (code, err) == (0, "")
        return json.loads(out)

    def vanished(self, seconds: int = 200, **names: str) -> FleetHolder:
        """Return a holder that has 100 USD, has reported 30 and 10, and is not heard of since."""
        holder = FleetHolder(self.place, **names)
        holder.ask(100 * USD, ceiling=1000 * USD)
        holder.ask(spent=30 * USD, held=10 * USD, ceiling=1000 * USD)
        self.place.pass_us(seconds * SECOND_US)
        return holder


@pytest.fixture
def fleet(server: PostgresServer, tmp_path: Path) -> Iterator[Fleet]:
    """Empty books."""
    place = PostgresPlace(server, tmp_path / "pod.url")
    yield Fleet(place, tmp_path)
    place.close()


def day(place: PostgresPlace, days: int = 0) -> tuple[BudgetKey, int]:
    """Return a budget of today, or of another day, and its end."""
    start_us = (place.now_us() // DAY_US + days) * DAY_US
    return BudgetKey("daily", Meter.TOKENS, Window.DAY, "ml", start_us), start_us + DAY_US


def test_init_makes_the_tables_and_may_be_repeated(fleet: Fleet) -> None:
    """It gives the pods' role what a sidecar needs, also in a schema that is not public."""
    fleet.sql(*EMPTY)
    code, out, err = fleet("init", "--grant-to", POD)
    assert (code, err) == (0, "")
    assert ": its tables were made, of version 1\n" in out
    assert out.endswith(f"\n{POD}: has the rights of a sidecar\n")
    assert fleet("init")[1] == out.partition(":")[0] + ": has its tables already, of version 1\n"
    FleetHolder(fleet.place).ask(10)


def test_init_gives_rights_in_a_schema_that_the_role_may_use(fleet: Fleet) -> None:
    """As `public` of a new database: there is nothing to give of the schema itself."""
    for _ in range(2):
        code, out, err = fleet("init", "--grant-to", POD)
        assert (code, err) == (0, "")
        assert out.endswith(f"\n{POD}: has the rights of a sidecar\n")
    assert "ON SCHEMA" not in fleet("init", "--grant-to", POD, "--dry-run")[1]


def test_of_two_that_init_at_once_both_find_the_tables_made(fleet: Fleet) -> None:
    """The second waits for the first, and then goes on with its tables."""
    fleet.sql(*EMPTY)

    async def both() -> tuple[str, operations.Made]:
        first = await fleet.place.server.connect(fleet.place.database)
        watch = await fleet.place.server.connect()  # a transaction sees one state of all sessions
        transaction = first.transaction()
        await transaction.start()
        fleet_id = await schema.init(first, "UTC")
        second = asyncio.create_task(operations.init(fleet.owner_url, "UTC", POD))
        while not (second.done() or await watch.fetchval(_WAITING)):  # noqa: ASYNC110 - a server's
            await asyncio.sleep(0.01)
        await transaction.commit()
        await first.close()
        await watch.close()
        return fleet_id, await second

    fleet_id, made = fleet.place.run(both())
    assert made.fleet_id == fleet_id
    FleetHolder(fleet.place).ask(10)


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def test_init_prints_what_it_would_do(fleet: Fleet) -> None:
    """The statements do the same when somebody else runs them."""
    fleet.sql(*EMPTY)
    code, out, _ = fleet("init", "--grant-to", POD, "--dry-run", "--time-zone", "Europe/Paris")
    assert code == 0
    assert fleet.sql("SELECT to_regclass('fleet') IS NULL AS none") == [(True,)]
    fleet.sql(*out.removesuffix(";\n").split(";\n"))
    assert fleet("init", "--dry-run", "--time-zone", "Europe/Paris")[1] == ""
    holder = FleetHolder(fleet.place)
    holder.time_zone = "Europe/Paris"
    holder.ask(10)


def test_init_refuses_what_cannot_be(fleet: Fleet) -> None:
    """Another time zone, a role that is not there, and a role that may not make tables."""
    for how in ((), ("--dry-run",)):
        code, _, err = fleet("init", "--time-zone", "Europe/Paris", *how)
        assert (code, "give --time-zone UTC" in err) == (1, True)
    assert fleet("init", "--time-zone", "Mars/Base")[0] == 2
    assert "no role named nobody[b]" in fleet("init", "--grant-to", "nobody[b]")[2]
    fleet.sql(*EMPTY)
    code, _, err = fleet("init", url=fleet.pod_url)
    assert (code, "give the URL of the role that made the tables" in err) == (1, True)
    code, _, err = fleet("status")
    assert (code, "its tables are missing or older: run `sidecar fleet init`" in err) == (1, True)


def test_status_shows_holders_and_what_they_have(fleet: Fleet) -> None:
    """What silent holders have and have not reported is stranded; the parts are the ceiling."""
    fleet.vanished(uid="gone", name="pod-1")
    live = FleetHolder(fleet.place, "here", "pod-2")
    live.ask(50 * USD, ceiling=1000 * USD)
    live.ask(spent=20 * USD, ceiling=1000 * USD)
    fleet.place.adjust(TOTAL, 7 * USD)
    status = fleet.status()
    [budget] = status.pop("budgets")
    holders = status.pop("holders")
    assert budget == {
        "rule": "team-budget", "scope": "ml", "meter": "cost", "window": "total",
        "window_start": None, "window_end": None, "ceiling": 1000 * USD, "spent": 57 * USD,
        "adjusted": 7 * USD, "held": 10 * USD, "free_in_shares": 30 * USD, "stranded": 60 * USD,
        "room": 843 * USD, "holders": 2,
    }  # fmt: skip
    assert [(one["uid"], one["name"], one["state"], one["stranded_in_budgets"])
            for one in holders] == [("gone", "pod-1", "silent", 1), ("here", "pod-2", "live", 0)]  # fmt: skip
    assert 200 <= holders[0]["seen_seconds_ago"] < 260
    assert (status["live_holders"], status["version"], status["time_zone"]) == (1, 1, "UTC")
    assert (status["learning_until"], status["timeline"]) == (None, 5)
    code, out, _ = fleet("status")
    assert (code, f"fleet {status['fleet_id']}: 1 live holder of 2;" in out) == (0, True)
    assert ("silent" in out, "1 budget" in out, "$60.00" in out, "$843.00" in out) == (True,) * 4


def test_status_of_a_fleet_without_sidecars_says_what_to_do(fleet: Fleet) -> None:
    """And prints no empty tables."""
    code, out, _ = fleet("status")
    assert (code, len(out.splitlines())) == (0, 2)
    assert out.endswith("no sidecar has joined it yet: start them with --fleet-url-file\n")


def test_a_holder_that_stopped_in_order_is_not_live(fleet: Fleet) -> None:
    """Until it exchanges again."""
    holder = FleetHolder(fleet.place, "one")
    holder.ask(1)
    fleet.sql("UPDATE fleet_holder SET left_us = seen_us + 1")
    status = fleet.status()
    assert (status["live_holders"], status["holders"][0]["state"]) == (0, "stopped")
    holder.ask(1)
    fleet.sql("UPDATE fleet_holder SET seen_us = greatest(seen_us, left_us + 1)")
    status = fleet.status()
    assert (status["live_holders"], status["holders"][0]["state"]) == (1, "live")


def test_status_has_the_ceiling_under_which_was_asked_last(fleet: Fleet) -> None:
    """A share's own ceiling is the lowest under which it was granted."""
    holder = FleetHolder(fleet.place)
    holder.ask(10, ceiling=100)
    holder.ask(10, ceiling=200)
    [budget] = fleet.status()["budgets"]
    assert (budget["ceiling"], budget["room"]) == (200, 180)


def test_status_has_current_windows_alone(fleet: Fleet) -> None:
    """Not those of tomorrow, nor shares that have lapsed."""
    holder = FleetHolder(fleet.place)
    for days in (0, 1):
        key, end_us = day(fleet.place, days)
        holder.ask(5, key=key, end_us=end_us)
    holder.ask(5, key=CONCURRENT)
    assert [one["rule"] for one in fleet.status()["budgets"]] == ["at-once", "daily"]
    fleet.place.pass_us(40 * SECOND_US)
    assert [one["rule"] for one in fleet.status()["budgets"]] == ["daily"]


def test_status_is_bounded(fleet: Fleet) -> None:
    """It says how much it leaves out."""
    for number in range(4):
        FleetHolder(fleet.place).ask(1, key=TOTAL._replace(scope=str(number)))
    status = fleet.status("--limit", "3")
    assert (len(status["holders"]), status["more_holders"]) == (3, 1)
    assert (len(status["budgets"]), status["more_budgets"]) == (3, 1)
    assert (
        "1 more holder and 1 more budget: --limit shows more\n"
        in fleet("status", "--limit", "3")[1]
    )


def test_status_says_that_the_books_learn(fleet: Fleet) -> None:
    """G8."""
    FleetHolder(fleet.place).ask(1)
    fleet.sql("UPDATE fleet SET recover_until_us = 4102444800000000")
    assert fleet.status()["learning_until"] == "2100-01-01T00:00:00+00:00"
    assert "its books lost commits" in fleet("status")[1]


@pytest.mark.parametrize(
    ("given", "granted"),
    [
        (("--all-spent",), 100),
        (("--nothing-spent",), 40),
        (("--spent", "team-budget=55.5"), 55.5),
        (("--spent", "team-budget:ml=120"), 120),
        (("--spent", "team-budget=0"), 0),
    ],
    ids=str,
)
def test_what_a_vanished_holder_spent_is_signed(
    fleet: Fleet, given: tuple[str, ...], granted: float
) -> None:
    """Its share becomes that, others get the rest, a row says who signed; it may not come back."""
    gone = fleet.vanished(uid="gone")
    code, out, err = fleet("forget", "gone", *given, *SIGNED, "--yes")
    assert (code, err) == (0, "")
    assert out.endswith("gone: signed by ada@example.com; it may not come back\n")
    assert fleet.place.granted(TOTAL) == {"gone": granted * USD}
    [row] = fleet.sql(
        "SELECT uid, granted, spent, held, signed, made_by, reason FROM fleet_forgotten"
    )
    assert tuple(row) == (
        "gone", 100 * USD, 30 * USD, 10 * USD, granted * USD, "ada@example.com",
        "its node was lost",
    )  # fmt: skip
    [budget] = fleet.status()["budgets"]
    assert (budget["spent"], budget["held"], budget["stranded"]) == (granted * USD, 0, 0)
    assert fleet.status()["holders"][0]["state"] == "forgotten"
    with pytest.raises(FencedError, match="sidecar fleet rejoin"):
        gone.ask(1)
    other = FleetHolder(fleet.place).ask(int((1000 - granted) * USD), ceiling=1000 * USD)
    assert other.share.granted == (1000 - granted) * USD


def test_nothing_is_signed_without_a_yes(fleet: Fleet) -> None:
    """The preview shows each share, and what others would get."""
    fleet.vanished(uid="gone")
    code, out, err = fleet("forget", "gone", "--spent", "team-budget=20", *SIGNED)
    assert (code, err) == (1, "sidecar: gone: nothing was changed\n")
    for figure in ("$100.00", "$30.00", "$10.00", "$20.00", "$80.00", "less is signed", "[y/N]"):
        assert figure in out
    assert fleet.place.granted(TOTAL) == {"gone": 100 * USD}


def test_a_holder_that_may_be_there_is_not_forgotten(fleet: Fleet) -> None:
    """Unless an operator insists."""
    fleet.vanished(90, uid="gone")
    code, _, err = fleet("forget", "gone", "--all-spent", *SIGNED, "--yes")
    assert (code, "was heard of 9" in err, "--force" in err) == (1, True, True)
    assert fleet("forget", "gone", "--all-spent", *SIGNED, "--yes", "--force")[0] == 0


def test_books_that_learn_forget_nobody(fleet: Fleet) -> None:
    """G8: a restored backup knows less than has been heard of holders."""
    fleet.vanished(uid="gone")
    fleet.sql("UPDATE fleet SET recover_until_us = 4102444800000000")
    code, _, err = fleet("forget", "gone", "--all-spent", *SIGNED, "--yes")
    assert (code, "the books lost commits" in err) == (1, True)


def test_a_holder_that_comes_back_in_between_is_not_forgotten(fleet: Fleet) -> None:
    """What was shown is what is signed, or nothing is."""
    gone = fleet.vanished(uid="gone")
    planned = fleet.place.run(orphans.find(fleet.owner_url, "gone"))
    signed = {share.budget: 0 for share in planned.shares}
    gone.ask(spent=31 * USD, held=10 * USD, ceiling=1000 * USD)
    with pytest.raises(FleetRefusedError, match="was heard of in between"):
        fleet.place.run(orphans.forget(fleet.owner_url, planned, signed, "ada", "gone"))
    assert fleet.place.granted(TOTAL) == {"gone": 100 * USD}
    assert fleet.sql("SELECT * FROM fleet_forgotten") == []
    gone.ask(1, spent=31 * USD, ceiling=1000 * USD)


def test_a_signature_of_more_than_the_share_is_doubted(fleet: Fleet) -> None:
    """It is taken, as an overrun may be above a share."""
    fleet.vanished(uid="gone")
    code, out, _ = fleet("forget", "gone", "--spent", "team-budget=1000", *SIGNED)
    assert (code, "of 1 share, more is signed than the holder could spend" in out) == (1, True)
    code, out, _ = fleet("forget", "gone", "--all-spent", *SIGNED, "--yes")
    assert (code, "more is signed" in out) == (0, False)


def test_a_signature_may_be_corrected(fleet: Fleet) -> None:
    """The last one counts; the books keep both."""
    fleet.vanished(uid="gone")
    fleet("forget", "gone", "--spent", "team-budget=5", *SIGNED, "--yes")
    code, out, _ = fleet("forget", "gone", "--spent", "team-budget=50", *SIGNED, "--yes")
    assert (code, "was signed for before" in out) == (0, True)
    assert fleet.place.granted(TOTAL) == {"gone": 50 * USD}
    assert len(fleet.sql("SELECT * FROM fleet_forgotten")) == 2


def test_shares_of_windows_that_have_ended_or_end_by_silence_are_not_signed(fleet: Fleet) -> None:
    """What is not named counts as spent whole."""
    gone = FleetHolder(fleet.place, "gone")
    key, end_us = day(fleet.place)
    gone.ask(50, key=key, end_us=end_us)
    gone.ask(60, key=key._replace(scope="dev"), end_us=end_us)
    gone.ask(5, key=CONCURRENT, busy_us=end_us - fleet.place.now_us())
    fleet.place.pass_us(200 * SECOND_US)
    code, out, err = fleet("forget", "gone", "--spent", "daily=1", *SIGNED, "--yes")
    assert (code, "write RULE:SCOPE=AMOUNT for dev, ml" in err) == (2, True)
    assert fleet("forget", "gone", "--spent", "daily:dev=1", *SIGNED, "--yes")[0] == 0
    assert fleet.place.granted(key) == {"gone": 50}
    assert fleet.place.granted(key._replace(scope="dev")) == {"gone": 1}
    assert fleet.place.granted(CONCURRENT) == {"gone": 5}
    fleet.sql("UPDATE fleet_budget SET window_end_us = 1 WHERE window_kind = 'day'")
    code, out, _ = fleet("forget", "gone", "--all-spent", *SIGNED, "--yes")
    assert (code, "nothing is stranded" in out) == (0, True)


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ((), 2, "give one of"),
        (("--all-spent", "--nothing-spent"), 2, "give one of"),
        (("--spent", "team-budget"), 2, "write RULE=AMOUNT"),
        (("--spent", "team-budgte=1"), 2, "has no share of that limit; it has some of team-budget"),
        (("--spent", "team-budget=1", "--spent", "team-budget:ml=1"), 2, "is given twice"),
        (("--spent", "team-budget=many"), 2, "is not a number"),
        (("--spent", "team-budget=-1"), 2, "is less than nothing"),
        (("--all-spent", "--by", " "), 2, "--signed-by"),
    ],
    ids=str,
)
def test_a_signature_that_is_no_good(
    fleet: Fleet, given: tuple[str, ...], code: int, says: str
) -> None:
    """Nothing is changed."""
    fleet.vanished(uid="gone")
    signed = SIGNED[2:] if "--by" in given else SIGNED
    got, _, err = fleet("forget", "gone", *given, *signed, "--yes")
    assert (got, says in err) == (code, True), err
    assert fleet.place.granted(TOTAL) == {"gone": 100 * USD}
    code, _, err = fleet("forget", "gnoe", "--all-spent", *SIGNED, "--yes")
    assert (code, "has no holder gnoe; did you mean 'gone'?" in err) == (1, True)


def test_a_pod_may_not_sign(fleet: Fleet) -> None:
    """Nor adjust: its role lacks the rights."""
    fleet.vanished(uid="gone")
    adjusting = ("--rule", "team-budget", "--scope", "ml", "--amount", "1", *SIGNED)
    for command in (("forget", "gone", "--all-spent", *SIGNED, "--yes"), ("adjust", *adjusting)):
        code, _, err = fleet(*command, url=fleet.pod_url)
        assert (code, "give the URL of the role that made the tables" in err) == (1, True)
    assert fleet.place.granted(TOTAL) == {"gone": 100 * USD}


def test_an_adjustment_is_of_the_current_window(fleet: Fleet) -> None:
    """It is signed, counts for all sidecars, and the new balance is printed."""
    holder = FleetHolder(fleet.place)
    for days in (-1, 0):
        key, end_us = day(fleet.place, days)
        holder.ask(5, key=key, end_us=end_us)
    holder.ask(spent=5, key=key, end_us=end_us)
    arguments = ("--rule", "daily", "--scope", "ml", "--signed-by", "ada", "--reason", "a demo")
    code, out, _ = fleet("adjust", *arguments, "--amount=-500")
    assert (code, out) == (0, "daily of ml: -495 tokens spent, 1,495 tokens left\n")
    assert holder.ask(1400, spent=5, key=key, end_us=end_us).share.granted == 1405
    [row] = fleet.sql("SELECT amount, made_by, reason FROM fleet_adjustment")
    assert tuple(row) == (-500, "ada", "a demo")
    assert fleet.status()["budgets"][0]["adjusted"] == -500


@pytest.mark.parametrize(
    ("rule", "scope", "amount", "code", "says"),
    [
        ("team-budgte", "ml", "1", 1, "no limit named team-budgte has a budget in a window that is"
                                      " open; did you mean 'team-budget'?"),
        ("team-budget", "mm", "1", 1, "has no budget for mm in a window that is open; known: ml"),
        ("team-budget", "ml", "1e30", 2, "is not a number of cost"),
        ("at-once", "ml", "1", 1, "has the window concurrent, which cannot be adjusted"),
    ],
)  # fmt: skip
def test_an_adjustment_that_is_no_good(
    fleet: Fleet, rule: str, scope: str, amount: str, code: int, says: str
) -> None:
    """Nothing is changed."""
    FleetHolder(fleet.place).ask(1)
    FleetHolder(fleet.place).ask(1, key=CONCURRENT)
    got, _, err = fleet("adjust", "--rule", rule, "--scope", scope, "--amount", amount, *SIGNED)
    assert (got, says in err) == (code, True), err
    assert fleet.sql("SELECT * FROM fleet_adjustment") == []


def test_a_rule_with_several_open_windows_is_not_guessed(fleet: Fleet) -> None:
    """The rule was changed from a day to a total."""
    key, end_us = day(fleet.place)
    FleetHolder(fleet.place).ask(1, key=key._replace(rule="team-budget"), end_us=end_us)
    FleetHolder(fleet.place).ask(1)
    arguments = ("--rule", "team-budget", "--scope", "ml", "--amount", "1", *SIGNED)
    code, _, err = fleet("adjust", *arguments)
    assert (code, "which are all open: day, total" in err) == (1, True)


def test_hostile_names_do_nothing(fleet: Fleet) -> None:
    """Names of pods, limits and scopes are text; `Fleet` looks for what is not."""
    names = TOTAL._replace(rule=HOSTILE, scope=HOSTILE)
    gone = FleetHolder(fleet.place, HOSTILE, HOSTILE)
    gone.ask(1, key=names)
    fleet.place.pass_us(200 * SECOND_US)
    for command in (
        ("status",), ("forget", HOSTILE, "--all-spent", *SIGNED), ("forget", "x" + HOSTILE,
        "--all-spent", *SIGNED), ("forget", HOSTILE, "--spent", f"{HOSTILE}x=1", *SIGNED),
        ("adjust", "--rule", HOSTILE, "--scope", HOSTILE, "--amount", "0", *SIGNED),
        ("adjust", "--rule", HOSTILE, "--scope", "x", "--amount", "0", *SIGNED),
        ("init", "--grant-to", HOSTILE),
    ):  # fmt: skip
        _, out, err = fleet(*command)
        assert "[b]" in out + err, (out, err)
    assert fleet.status()["holders"][0]["name"] == HOSTILE
    fleet.sql("UPDATE fleet_budget SET meter = E'[b]\\e', window_start_us = 0")
    code, _, err = fleet("status")
    assert (code, "have a meter that this sidecar does not know: [b]" in err) == (1, True)


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("postgresql://owner:s3cret@127.0.0.1:1/books", 1, "cannot be asked: connection refused"),
        ("postgresql://owner:s3cret@example.com/books", 2, "sslmode=verify-full"),
        ("s3cret", 2, "is not a URL"),
        (None, 2, "cannot be read"),
    ],
)
def test_a_url_that_leads_nowhere(
    url: str | None, code: int, says: str, server: PostgresServer, tmp_path: Path
) -> None:
    """Each command says what is wrong, and no part of the URL."""
    file = tmp_path / "a.url"
    if url is not None:
        file.write_text(url)
    del server
    for command in (("init",), ("status",), ("forget", "x", "--all-spent", *SIGNED),
                    ("adjust", "--rule", "x", "--scope", "x", "--amount", "1", *SIGNED)):  # fmt: skip
        got, out, err = sidecar("fleet", *command, "--fleet-url-file", file)
        assert (got, says in err, "s3cret" in out + err) == (code, True, False), err


def test_a_wrong_password_is_not_repeated(fleet: Fleet) -> None:
    """Nor the user's name."""
    fleet.owner_url.write_text(f"postgresql://pod:wr0ng@/books?host={fleet.place.server.folder}")
    code, out, err = fleet("status")
    assert (code, "wr0ng" in out + err) == (1, False)


def test_without_the_driver_each_command_says_what_is_missing(tmp_path: Path) -> None:
    """And exits 2; so does serve."""
    file = tmp_path / "fleet.url"
    file.write_text("postgresql://u:p@127.0.0.1:1/books")
    policies = minimal(tmp_path / "p")
    for command in (
        ("fleet", "init"), ("fleet", "status"), ("fleet", "forget", "x", "--all-spent", *SIGNED),
        ("fleet", "adjust", "--rule", "x", "--scope", "x", "--amount", "1", *SIGNED),
        ("serve", "--policies", str(policies), "--ledger", str(tmp_path / "l.sqlite")),
    ):  # fmt: skip
        arguments = ["sidecar", *command, "--fleet-url-file", str(file)]
        program = (
            "import sys\nsys.modules['asyncpg'] = None\n"
            f"sys.argv = {arguments}\nfrom sidecar.cli.entry import main\nmain()\n"
        )
        code, _, err = sidecar(program=program)
        says = 'needs a package: pip install "mistral-spend-sidecar[fleet]"'
        assert (code, says in err, "Traceback" in err) == (2, True, False), err


def test_a_sidecar_without_a_fleet_loads_nothing_of_it(tmp_path: Path) -> None:
    """Neither the driver nor our own modules."""
    policies = minimal(tmp_path / "p", daily=limit("5"))
    program = (
        "import os, signal, sys\n"
        "from sidecar.runtime import serve\n"
        "import sidecar.authorization.authorizer\n"
        f"sys.argv = ['sidecar', 'serve', '--policies', {str(policies)!r}, '--ledger',"
        f" {str(tmp_path / 'l.sqlite')!r}, '--listen', '127.0.0.1:0']\n"
        "log_serving = serve._log_serving\n"
        "def log_and_stop(*arguments):\n"
        "    log_serving(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "serve._log_serving = log_and_stop\n"
        "from sidecar.cli.entry import main\n"
        "try:\n    main()\n"
        "finally:\n    print([name for name in sys.modules if name.split('.')[:2] =="
        " ['sidecar', 'fleet'] or name.startswith(('asyncpg', 'sidecar.runtime.fleet'))])\n"
    )
    code, out, err = sidecar(program=program)
    assert (code, out, "SERVING" in err) == (0, "[]\n", True), err


@pytest.fixture
def member(fleet: Fleet, tmp_path: Path, start_sidecar: Start) -> RunningSidecar:
    """A sidecar in the fleet, which has allowed a call."""
    policies = minimal(tmp_path / "p", daily=limit("5"))
    running = start_sidecar(
        policies,
        "--fleet-url-file",
        str(fleet.pod_url),
        "--admin-listen",
        f"unix:{tmp_path / 'admin.sock'}",
        ledger=tmp_path / "l.sqlite",
    )
    eventually(lambda: running.stub.Authorize(chat(tester(), model="small-1")).hold_id)
    return running


def test_a_ledger_of_a_fleet_is_not_adjusted_alone(member: RunningSidecar) -> None:
    """The books are, with another command: neither with its sidecar, nor without one."""
    arguments = ("--rule", "daily", "--scope", "lab", "--amount", "1", "--signed-by", "x")
    adjust = ("ledger", "adjust", *arguments, "--reason", "x")
    admin_address = f"unix:{member.ledger.parent / 'admin.sock'}"
    asked = sidecar(*adjust, "--admin", admin_address)
    member.stop()
    for code, _, err in (asked, sidecar(*adjust, "--ledger", member.ledger)):
        assert (code, "`sidecar fleet adjust`" in err) == (2, True), err


def test_a_ledger_that_was_restored_gets_a_new_place(fleet: Fleet, member: RunningSidecar) -> None:
    """It has no share any more; its own spend is booked again, beside what the old place has."""
    code, _, err = sidecar("fleet", "rejoin", "--ledger", member.ledger)
    assert (code, "another sidecar" in err) == (1, True)
    member.stop()
    [before] = fleet.status()["holders"]
    code, out, _ = sidecar("fleet", "rejoin", "--ledger", member.ledger)
    what_next = f"sidecar fleet forget {before['uid']} --fleet-url-file owner.url --spent"
    assert (code, what_next in out) == (0, True)
    code, _, err = sidecar("fleet", "rejoin", "--ledger", member.ledger)
    assert (code, "has a new place already" in err) == (1, True)
    with sqlite3.connect(member.ledger) as connection:
        uid, *rest = connection.execute(
            "SELECT uid, fleet_id, boot, version, timeline FROM holder"
        ).fetchone()
        assert (rest, uid in out) == (["", 0, 0, 0], True)
        assert connection.execute("SELECT sum(granted) FROM shares").fetchone() == (0,)
    member.restart()
    eventually(lambda: len(fleet.status()["holders"]) == 2)
    eventually(lambda: fleet.status()["budgets"][0]["holders"] == 2)
    [budget] = fleet.status()["budgets"]
    assert budget["held"] == 2


def test_a_ledger_that_is_in_no_fleet_has_no_place_to_leave(tmp_path: Path) -> None:
    """It joins at its first start."""
    sidecar("ledger", "prune", "--ledger", tmp_path / "none.sqlite")
    code, _, err = sidecar("fleet", "rejoin", "--ledger", tmp_path / "none.sqlite")
    assert (code, "there is no such ledger" in err) == (1, True)


def test_a_holder_without_shares_is_forgotten_so_that_keys_do_not_wait_for_it(
    fleet: Fleet,
) -> None:
    """Who signed is kept, as for shares."""
    FleetHolder(fleet.place, "gone").tell()
    fleet.place.pass_us(200 * SECOND_US)
    code, out, _ = fleet("forget", "gone", "--nothing-spent", *SIGNED, "--yes")
    assert (code, "its use of keys is not waited for any more" in out) == (0, True)
    assert fleet.status()["holders"][0]["forgotten_at"] is not None
    [row] = fleet.sql("SELECT made_by, reason FROM fleet_forgotten")
    assert (row["made_by"], row["reason"]) == ("ada@example.com", "its node was lost")
