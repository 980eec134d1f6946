"""`sidecar spend --fleet-url-file`: what all sidecars of a fleet have spent, on a real PostgreSQL."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.places import FleetHolder, PostgresPlace
from fleet.postgres_server import OWNER, PostgresServer
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester
from support.tools import needed

from sidecar.domain.clock import SECOND_US

CALL_NANO_USD = 150_000
"""What the call of `call` costs: 100 input and 50 output tokens, by the minimal policies."""
BUDGET_USD = "1"
HOSTILE = "[b]x[/] :cat:\x1b[2J\u202e\nFORGED 'n' \"n\""
Start = Callable[..., RunningSidecar]


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


@pytest.fixture
def pods(tmp_path: Path, place: PostgresPlace, start_sidecar: Start) -> Callable[[int], Any]:
    """Start sidecars of the fleet, each with a ledger of its own."""
    policies = minimal(
        tmp_path / "policies", monthly=limit(BUDGET_USD, meter="cost", window="month")
    )

    def start(number: int) -> RunningSidecar:
        return start_sidecar(
            policies, "--fleet-url-file", str(place.url_file), ledger=tmp_path / f"{number}.sqlite"
        )

    return start


def call(pod: RunningSidecar, principal: str = "ada") -> None:
    """Make a call, and settle it."""
    allowed = pod.stub.Authorize(chat(tester(id=principal), model="small-1"), timeout=10)
    assert allowed.hold_id
    usage = pb.Usage(input_tokens=100, output_tokens=50)
    pod.stub.Settle(pb.SettleRequest(hold_id=allowed.hold_id, usage=usage), timeout=10)


def spend(place: PostgresPlace, *arguments: object, **env: str) -> Any:
    """Return the fleet's spend."""
    code, out, err = sidecar(
        "spend", "--fleet-url-file", place.url_file, "--format", "json", *arguments, **env
    )
    assert (code, err) == (0, "")
    return json.loads(out)


def by(report: Any, *names: str) -> dict[tuple[str, ...], int]:
    """Return how many calls rows have, by names."""
    return {tuple(row[name] for name in names): row["calls"] for row in report["rows"]}


def test_spend_shows_the_sum_of_all_sidecars(place: PostgresPlace, pods: Any) -> None:
    """As their ledgers have it together, once they have reported; a new start adds nothing."""
    first, second = pods(1), pods(2)
    for _ in range(3):
        call(first)
    for principal in ("ada", "bo"):
        call(second, principal)
    assert (first.stop(), second.stop()) == (0, 0)
    report = spend(place, "--by", "principal")
    assert by(report, "principal") == {("ada",): 4, ("bo",): 1}
    assert report["total"]["calls"] == 5
    own = [
        json.loads(sidecar("spend", "--ledger", pod.ledger, "--format", "json")[1])["total"]
        for pod in (first, second)
    ]
    for name in ("cost_nano_usd", "input_tokens", "output_tokens", "calls", "overruns", "expired"):
        assert report["total"][name] == sum(one[name] for one in own), name
    first.restart()
    call(first)
    assert first.stop() == 0
    assert spend(place)["total"]["calls"] == 6
    [budget] = spend(place)["budgets"]
    assert budget["spent"] == spend(place)["total"]["cost_nano_usd"]
    assert spend(place)["unaccounted"]["cost_nano_usd"] == 0


def test_spend_can_be_divided_by_anything_but_rule_and_principal(
    place: PostgresPlace, pods: Any
) -> None:
    """By rule, as each sidecar reports it, without the principals."""
    pod = pods(1)
    call(pod)
    pod.stop()
    assert by(spend(place, "--by", "rule,workspace"), "rule", "workspace") == {
        ("monthly", "lab"): 1
    }
    everything = "workspace,role,principal,model,key,day"
    assert next(iter(by(spend(place, "--by", everything), *everything.split(","))))[:3] == (
        "lab", "tester", "ada",
    )  # fmt: skip
    code, _, err = sidecar("spend", "--fleet-url-file", place.url_file, "--by", "rule,principal")
    assert (code, "no spend by rule and principal" in err) == (2, True)


def test_a_running_sidecar_reports(place: PostgresPlace, pods: Any) -> None:
    """Soon after it has started, what a start before had not."""
    pod = pods(1)
    call(pod)
    pod.stop(signal.SIGKILL)
    pod.restart()
    eventually(lambda: spend(place)["total"]["calls"] == 1)


def test_a_sidecar_that_is_lost_with_its_file_leaves_unaccounted_money(
    place: PostgresPlace, pods: Any
) -> None:
    """Its share, until an operator signs what was spent of it; then that."""
    pod, other = pods(1), pods(2)
    call(pod)
    eventually(lambda: place.sql("SELECT sum(spent) AS sum FROM fleet_share")[0]["sum"])
    pod.stop(signal.SIGKILL)
    pod.ledger.unlink()
    place.pass_us(200 * SECOND_US)
    call(other)
    other.stop()
    [row] = place.sql("SELECT uid, granted, reported FROM fleet_share ORDER BY seen_us LIMIT 1")
    missing = row["granted"] - row["reported"]
    report = spend(place)
    assert missing > CALL_NANO_USD
    assert (report["unaccounted"]["cost_nano_usd"], report["unaccounted"]["gone_holders"]) == (
        missing, 1,
    )  # fmt: skip
    _, out, _ = sidecar("spend", "--fleet-url-file", place.url_file)
    assert " of 1 gone sidecar)\n" in out
    signed = ("--spent", "monthly=0.5", "--by", "ada", "--reason", "its node was lost", "--yes")
    owner = place.url_file.with_name("owner.url")
    assert sidecar("fleet", "forget", row["uid"], "--fleet-url-file", owner, *signed)[0] == 0
    assert spend(place)["unaccounted"]["gone_cost_nano_usd"] == 500_000_000 - row["reported"]


def test_a_page_of_the_fleet(place: PostgresPlace, pods: Any, tmp_path: Path) -> None:
    """With the unaccounted money, the fleet's method, and no curve that is not known."""
    pod = pods(1)
    call(pod)
    pod.stop()
    FleetHolder(place).ask(1)
    page = tmp_path / "spend.html"
    code, out, err = sidecar("spend", "--fleet-url-file", place.url_file, "--html", page)
    assert (code, err) == (0, f"wrote {page}\n")
    assert "unaccounted: $0.00\n" in out
    text = page.read_text()
    assert "unaccounted" in text
    assert "the books keep no history of a budget" in text
    [total, month] = sorted(text.split('<section class="card">')[1:3], key=lambda it: "month" in it)
    assert ("unknown" in total, "pace measured over" in total, 'class="pace"' in total) == (
        True, False, False,
    )  # fmt: skip
    assert ("pace measured over" in month, 'class="pace"' in month) == (True, True)


def test_names_are_shown_as_what_they_are(place: PostgresPlace) -> None:
    """A role that may write to the books may write any name."""
    FleetHolder(place).ask(1)
    day_us = place.now_us() // 86_400_000_000 * 86_400_000_000
    for number, name in enumerate((HOSTILE, "n" * 10_000, "")):
        place.sql(
            "INSERT INTO fleet_spend SELECT 'x', "
            f"{day_us}, decode('0{number}', 'hex'), 0, n, n, n, n, n, n, 1, 2, 3, 4, 5, 6, 7"
            f" FROM (SELECT {_literal(name)} AS n) AS one"
        )
    names = [row["principal"] for row in spend(place, "--by", "principal")["rows"]]
    assert sorted(names) == sorted([HOSTILE, "n" * 10_000, ""])
    code, out, err = sidecar("spend", "--fleet-url-file", place.url_file, "--by", "principal")
    assert (code, err) == (0, "")
    assert not {c for c in out if not (c.isprintable() or c == "\n")}, ascii(out)
    assert not [line for line in out.splitlines() if line.startswith("FORGED")]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--ledger", "x.sqlite", "--fleet-url-file", "x.url"), "give one of them"),
        ((), "give --ledger FILE, or --fleet-url-file FILE"),
        (("--fleet-url-file", "none.url"), "cannot be read"),
        (("--fleet-url-file", "pod.url", "--time-zone", "Europe/Paris"), "those of UTC"),
        (("--fleet-url-file", "pod.url", "--since", "yesterday"), "is neither a day"),
    ],
    ids=str,
)
def test_options_that_do_not_go_together(
    place: PostgresPlace, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """The exit code is 2, and the text says what to do."""
    del place
    files = [str(tmp_path / one) if one.endswith(".url") else one for one in arguments]
    code, _, err = sidecar("spend", *files)
    assert (code, says in err, "Traceback" in err) == (2, True, False), err


def test_the_command_line_wins_over_the_environment(place: PostgresPlace, tmp_path: Path) -> None:
    """In a sidecar's container both variables are set."""
    both = {"SIDECAR_LEDGER": str(tmp_path / "x"), "SIDECAR_FLEET_URL_FILE": str(place.url_file)}
    assert spend(place, SIDECAR_LEDGER=both["SIDECAR_LEDGER"])["rows"] == []
    code, _, err = sidecar("spend", **both)
    assert (code, "give one of them" in err) == (2, True)
    code, _, err = sidecar("spend", "--ledger", tmp_path / "y", **both)
    assert (code, "y: there is no such ledger" in err) == (1, True)


def test_the_days_are_those_of_the_fleet(place: PostgresPlace) -> None:
    """Its time zone may be given, and need not."""
    place.sql("UPDATE fleet SET time_zone = 'Asia/Kolkata'")
    for zone in ((), ("--time-zone", "Asia/Kolkata")):
        assert spend(place, *zone)["time_zone"] == "Asia/Kolkata"


def test_without_a_limit_of_cost_nothing_is_said_of_unaccounted_money(
    place: PostgresPlace,
) -> None:
    """Nobody knows."""
    assert "unaccounted" not in spend(place)
