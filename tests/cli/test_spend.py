"""`sidecar spend`, run as people and jobs run it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import sidecar
from support.operator_ledger import DAY, HOUR, NOON, OperatorLedger, operator_ledger
from support.reservations import limit
from support.sidecar_process import RunningSidecar, chat

from sidecar.domain.decisions import Meter
from sidecar.domain.forecast import METHOD
from sidecar.domain.retirement import Retirement
from sidecar.domain.windows import Anchor, Window

BUDGET = limit(10_000_000, Meter.COST, Window.MONTH, rule="monthly")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[OperatorLedger]:
    """A ledger in use, with 6000 tokens of two models in November and one call before it."""
    with operator_ledger(tmp_path / "ledger.sqlite") as opened:
        opened.spend(NOON - 20 * DAY, tokens=1)
        opened.spend(NOON - 9 * DAY, BUDGET, tokens=1000, key_id="key-1")
        opened.spend(NOON - 2 * DAY, BUDGET, tokens=2000, held=1999, model_id="[red]large")
        opened.spend(NOON - HOUR, BUDGET, tokens=3000, key_id="key-1", principal_id="bo")
        yield opened


def test_spend_shows_this_month_by_workspace_and_model(kept: OperatorLedger) -> None:
    """A table with shares, a mark for each day, and a total; and each budget's forecast."""
    code, out, err = sidecar("spend", "--ledger", kept.path)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert (code, err, "Spend, 2100-11-01 to 2100-11-10 (UTC)" in out) == (0, "", True)
    assert [
        "lab",
        "small-1",
        "2",
        "0",
        "4,000",
        "$0.004",
        "66.7 %",
        "▃········█",
        "0",
        "0",
    ] in lines
    assert [
        "lab",
        "[red]large",
        "1",
        "0",
        "2,000",
        "$0.002",
        "33.3 %",
        "·······█··",
        "1",
        "0",
    ] in lines
    assert ["total", "", "3", "0", "6,000", "$0.006", "100.0 %", "▃······▆·█", "1", "0"] in lines
    # 3,000,000 nano-USD in 24 hours: the other 4,000,000 last 32 hours.
    assert [
        "monthly", "lab", "cost per month", "$0.01", "$0.006", "$0.00", "≈ $0.000125",
        "≈ 2100-11-11 19:00",
    ] in lines  # fmt: skip


def test_spend_says_which_models_retire_and_what_replaces_them(kept: OperatorLedger) -> None:
    """As a table for people, and in JSON for programs; only where models that retire were used."""
    _, out, _ = sidecar("spend", "--ledger", kept.path)
    assert "retires on" not in out
    retires = Retirement("[red]large", NOON + DAY, "small-1")
    kept.spend(NOON, model_id="[red]large", retirement=retires)
    code, out, err = sidecar("spend", "--ledger", kept.path)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert (code, err, "retires on (UTC)" in out) == (0, "", True)
    assert ["[red]large", "2100-11-11 12:00", "small-1"] in lines
    _, out, _ = sidecar("spend", "--ledger", kept.path, "--format", "json")
    assert json.loads(out)["retirements"] == [
        {"model": "[red]large", "retires_on": "2100-11-11T12:00:00+00:00", "replaced_by": "small-1"}
    ]


def test_spend_in_json_has_whole_numbers_and_says_how_it_forecasts(kept: OperatorLedger) -> None:
    """Any dimensions, any days; money in nano-USD, times with their offset."""
    code, out, _ = sidecar(
        "spend", "--ledger", kept.path, "--by", "key, day", "--since", "3d", "--format", "json"
    )
    report = json.loads(out)
    assert (code, report["method"], report["by"]) == (0, METHOD, ["key", "day"])
    assert report["days"] == ["2100-11-08", "2100-11-09", "2100-11-10"]
    assert [(row["key"], row["day"], row["cost_nano_usd"]) for row in report["rows"]] == [
        ("", "2100-11-08", 2_000_000),
        ("key-1", "2100-11-10", 3_000_000),
    ]
    assert report["total"]["daily_cost_nano_usd"] == [2_000_000, 0, 3_000_000]
    (budget,) = report["budgets"]
    assert (budget["spent"], budget["ceiling"], budget["remaining"]) == (
        6 * 10**6,
        10**7,
        4 * 10**6,
    )
    assert (budget["recently_charged"], budget["recent_seconds"]) == (3_000_000, 86_400)
    assert budget["estimated_exhaustion"] == "2100-11-11T19:00:00+00:00"
    assert budget["window_end"] == "2100-12-01T00:00:00+00:00"


def test_spend_forecasts_a_total_for_a_year_and_says_that_it_never_ends(tmp_path: Path) -> None:
    """In the table, in JSON and on the page, beside a week with its anchor."""
    total = limit(10**9, Meter.COST, Window.TOTAL, rule="trial")
    week = limit(5000, Meter.TOKENS, Window.WEEK, rule="weekly")._replace(anchor=Anchor(7, 6))
    with operator_ledger(tmp_path / "ledger.sqlite") as kept:
        kept.spend(NOON - 400 * DAY, total, tokens=1000)
        kept.spend(NOON - HOUR, total, week, tokens=1000)
        page = tmp_path / "spend.html"
        code, out, _ = sidecar("spend", "--ledger", kept.path, "--html", page)
        _, report, _ = sidecar("spend", "--ledger", kept.path, "--format", "json")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert code == 0
    assert ["trial", "cost in all", "not within a year"] in [
        [line[0], line[2], line[-1]] for line in lines if len(line) == 8
    ]
    assert "tokens per week from sunday 06:00" in out
    (trial,) = (one for one in json.loads(report)["budgets"] if one["rule"] == "trial")
    assert (trial["spent"], trial["window_start"], trial["window_end"]) == (2_000_000, None, None)
    assert trial["estimated_at_window_end"] is None
    text = page.read_text()
    assert "in a year, at this pace" in text
    assert "never" in text


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((), 6000),
        (("--since", "2100-10-21"), 6001),
        (("--until", "2100-10-31"), 1),
        (("--since", "2100-11-08", "--until", "2100-11-08"), 2000),
        (("--since", "1d"), 3000),
        (("--until", "2d"), 3000),
        (("--until", "9999-12-31"), 6000),
        (("--since", "2100-11-01", "--time-zone", "Asia/Kolkata"), 6000),
    ],
)
def test_spend_covers_the_requested_days(
    kept: OperatorLedger, days: tuple[str, ...], expected: int
) -> None:
    """Both days are included; by default a month begins with the month of the last day."""
    code, out, _ = sidecar("spend", "--ledger", kept.path, "--format", "json", *days)
    assert (code, json.loads(out)["total"]["output_tokens"]) == (0, expected)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ("--by", "team"),
            "--by team: has to be some of workspace, role, principal, model, key, rule, day",
        ),
        (("--by", ""), "--by : has to be some of"),
        (("--since", "yesterday"), "--since yesterday: is neither a day, as 2026-11-24, nor 7d"),
        (("--since", "2100-11-11"), "is not a range of days"),
        (("--since", "0001-01-01"), "begins 3660 days ago or more"),
        (("--until", "0001-01-01"), "begins 3660 days ago or more"),
        (("--since", "9999d"), "begins 3660 days ago or more"),
        (("--time-zone", "Mars/North"), "no such zone"),
    ],
)
def test_invalid_options_of_spend_exit_2(
    kept: OperatorLedger, args: tuple[str, ...], expected: str
) -> None:
    """The error names the option, and how to fix it."""
    code, _, err = sidecar("spend", "--ledger", kept.path, *args)
    assert (code, expected in err) == (2, True), err


def test_spend_writes_a_page_too(kept: OperatorLedger, tmp_path: Path) -> None:
    """With the method in it; the table still goes to standard output."""
    page = tmp_path / "spend.html"
    code, out, err = sidecar("spend", "--ledger", kept.path, "--html", page, "--by", "rule,model")
    assert (code, err, "monthly" in out) == (0, f"wrote {page}\n", True)
    text = page.read_text()
    assert "Cost of each day, by model" in text
    assert "is what its calls were charged in the last 24 hours for a week" in text
    code, _, err = sidecar("spend", "--ledger", kept.path, "--html", tmp_path / "no" / "folder")
    assert (code, "cannot be written" in err) == (1, True)


def test_spend_of_a_missing_ledger_says_so(tmp_path: Path) -> None:
    """A wrong path is an error, and no file is created."""
    code, _, err = sidecar("spend", "--ledger", tmp_path / "x.sqlite")
    assert (code, "x.sqlite" in err, list(tmp_path.iterdir())) == (1, True, [])


def test_spend_reads_a_ledger_in_use(
    start_sidecar: Callable[..., RunningSidecar],
) -> None:
    """Its budgets, while a call is held."""
    started = start_sidecar()
    started.stub.Authorize(chat())
    code, out, _ = sidecar("spend", "--format", "json", SIDECAR_LEDGER=str(started.ledger))
    held = {budget["rule"]: budget["held"] for budget in json.loads(out)["budgets"]}
    assert (code, held["workspace-monthly-budget"] > 0) == (0, True)


def test_spend_bounds_what_it_prints_of_budgets(kept: OperatorLedger) -> None:
    """A line says how many are left to JSON."""
    for number in range(30):
        kept.spend(NOON, limit(10**6, Meter.TOKENS, Window.DAY, f"p{number}"), tokens=1)
    code, out, _ = sidecar("spend", "--ledger", kept.path)
    assert (code, out.endswith("11 more budgets: --format json has all\n")) == (0, True)
