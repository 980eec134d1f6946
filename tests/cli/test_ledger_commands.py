"""`sidecar ledger …` on real files, in use and not."""

import csv
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger.conftest import LedgerHarness
from pyarrow import feather, parquet
from support.commands import sidecar
from support.reservations import limit, reservation
from support.sidecar_process import RunningSidecar, chat

from sidecar.domain.clock import DAY_US
from sidecar.ledger.sqlite import SqliteLedger

Start = Callable[..., RunningSidecar]

RULE = "workspace-monthly-budget"
SIGNED = ("--signed-by", "ada@example.com", "--reason", "a test")


@pytest.fixture
def stopped(start_sidecar: Start) -> Path:
    """A ledger with three holds, which no sidecar uses any more."""
    started = start_sidecar()
    for _ in range(3):
        started.stub.Authorize(chat())
    started.stop()
    return started.ledger


def test_a_backup_of_a_ledger_in_use_is_whole_and_can_be_restored(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """What was answered before the backup is in it; what came after is gone after a restore."""
    started = start_sidecar()
    started.stub.Authorize(chat())
    copy = tmp_path / "copy.sqlite"
    code, out, _ = sidecar("ledger", "backup", copy, "--ledger", started.ledger)
    assert (code, out.startswith(f"{copy}: "), "bytes, clean" in out) == (0, True, True)
    started.stub.Authorize(chat())

    code, _, err = sidecar("ledger", "restore", copy, "--ledger", started.ledger)
    assert (code, "another sidecar" in err) == (1, True)
    started.stop()
    code, out, _ = sidecar("ledger", "restore", copy, "--ledger", started.ledger)
    before = Path(f"{started.ledger}.before-restore-1")
    assert (code, out) == (0, f"{started.ledger}: restored; the old ledger is {before}\n")
    for file, decisions in ((started.ledger, "1 decision,"), (before, "2 decisions,")):
        code, out, _ = sidecar("ledger", "verify", "--ledger", file)
        assert (code, f"{file}: {decisions}" in out, "clean" in out) == (0, True, True)


def test_a_backup_never_overwrites_a_file(stopped: Path, tmp_path: Path) -> None:
    """A backup that fails leaves no file behind."""
    there = tmp_path / "there.sqlite"
    there.write_text("precious")
    code, _, err = sidecar("ledger", "backup", there, "--ledger", stopped)
    assert (code, "already exists" in err, there.read_text()) == (1, True, "precious")
    with sqlite3.connect(stopped) as connection:
        connection.execute("UPDATE budgets SET held = held + 1")
    code, _, err = sidecar("ledger", "backup", tmp_path / "copy.sqlite", "--ledger", stopped)
    assert (code, "is damaged: L2" in err) == (1, True)
    assert sorted(path.name for path in tmp_path.glob("*copy*")) == []


def test_a_backup_that_is_damaged_is_not_restored(stopped: Path, tmp_path: Path) -> None:
    """The ledger that is there stays."""
    copy = tmp_path / "copy.sqlite"
    shutil.copy(stopped, copy)
    with sqlite3.connect(copy) as connection:
        connection.execute("UPDATE decisions SET principal = 'eve'")
    code, _, err = sidecar("ledger", "restore", copy, "--ledger", stopped)
    assert (code, "the decision log was altered" in err) == (1, True)
    assert sidecar("ledger", "verify", "--ledger", stopped)[0] == 0


def test_verify_knows_a_head_that_was_noted(stopped: Path) -> None:
    """A log whose end was cut off adds up, but lacks the head that was noted."""
    _, out, _ = sidecar("ledger", "verify", "--ledger", stopped)
    head = out.splitlines()[-1].removeprefix("head of decisions ")
    assert sidecar("ledger", "verify", "--ledger", stopped, "--head", head)[0] == 0
    with sqlite3.connect(stopped) as connection:
        for table in ("holds", "decisions"):
            connection.execute(f"DELETE FROM {table} WHERE id = 3")
        connection.execute("UPDATE budgets SET (held, holds) = (SELECT total(held), count(*)"
                           " FROM hold_amounts WHERE budget = budgets.id)")  # fmt: skip
    assert sidecar("ledger", "verify", "--ledger", stopped)[0] == 0
    code, out, _ = sidecar("ledger", "verify", "--ledger", stopped, "--head", head)
    assert (code, "the decision log was cut off" in out) == (1, True)
    assert sidecar("ledger", "verify", "--ledger", stopped, "--head", "xyz")[0] == 2


def test_open_holds_are_listed(stopped: Path) -> None:
    """A table for people, JSON for programs."""
    code, out, _ = sidecar("ledger", "holds", "--ledger", stopped)
    assert (code, "3 open holds" in out, "dev-workspace" in out) == (0, True, True)
    _, out, _ = sidecar("ledger", "holds", "--ledger", stopped, "--format", "json")
    assert [hold["principal"] for hold in json.loads(out)] == ["ada"] * 3


def test_an_adjustment_gives_room_and_is_signed(stopped: Path) -> None:
    """USD to the nano; the ledger has who signed it, and why."""
    arguments = (
        "ledger",
        "adjust",
        "--ledger",
        stopped,
        "--rule",
        RULE,
        "--scope",
        "dev-workspace",
    )
    code, out, err = sidecar(*arguments, "--amount=-25.000000001", *SIGNED)
    assert code == 0, err
    assert out.startswith(f"{RULE} of dev-workspace: $-25.000000001 spent, $74.99")
    _, out, _ = sidecar("ledger", "export", "adjustments", "--format", "json", "--ledger", stopped)
    (row,) = json.loads(out)
    assert (row["amount"], row["signed_by"]) == (-25_000_000_001, "ada@example.com")
    assert sidecar("ledger", "verify", "--ledger", stopped)[0] == 0


@pytest.mark.parametrize(
    ("rule", "amount", "code", "expected"),
    [
        ("typo", "1", 1, "no call has counted on a limit named typo"),
        (
            "workspace-monthly-budgte",
            "1",
            1,
            f"named workspace-monthly-budgte; did you mean '{RULE}'?",
        ),
        (RULE, "a lot", 2, "is not a number"),
        (RULE, "nan", 2, "is not a number"),
        ("role-daily-tokens", "1", 1, "role-daily-tokens has no budget for dev-workspace"),
        ("workspace-requests-per-minute", "1", 1, "has the window minute"),
    ],
)
def test_an_adjustment_that_cannot_be_made_is_refused(
    rule: str, amount: str, code: int, expected: str, stopped: Path
) -> None:
    """With the reason, and nothing written."""
    arguments = ("--rule", rule, "--scope", "dev-workspace", f"--amount={amount}", *SIGNED)
    found, _, err = sidecar("ledger", "adjust", "--ledger", stopped, *arguments)
    assert (found, expected in err) == (code, True), err
    with sqlite3.connect(stopped) as connection:
        assert connection.execute("SELECT count(*) FROM adjustments").fetchone() == (0,)


def test_a_mistyped_scope_is_refused_with_the_near_one(stopped: Path) -> None:
    """It would give room to a budget that nothing counts; --new-budget says that it is meant."""
    common = ("ledger", "adjust", "--ledger", stopped, "--rule", RULE, "--amount=-1", *SIGNED)
    code, _, err = sidecar(*common, "--scope", "dev-workspcae")
    assert (code, "did you mean 'dev-workspace'?" in err, "--new-budget" in err) == (1, True, True)
    code, out, err = sidecar(*common, "--scope", "dev-workspcae", "--new-budget")
    assert (code, "dev-workspcae: $-1.00 spent" in out) == (0, True), err
    assert sidecar(*common, "--scope", "dev-workspcae")[0] == 0, "it has a budget by now"


def test_an_amount_is_in_the_unit_of_the_limit(stopped: Path) -> None:
    """Tokens are whole."""
    daily = ("--rule", "role-daily-tokens", "--scope", "ada", "--amount=1.5", *SIGNED)
    code, _, err = sidecar("ledger", "adjust", "--ledger", stopped, *daily)
    assert (code, "is not a number of tokens" in err) == (2, True), err


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    """A ledger that a clock of next month wrote."""
    harness = LedgerHarness(SqliteLedger, tmp_path / "ahead.sqlite")
    at_us = time.time_ns() // 1000 + 30 * DAY_US
    assert harness.run(harness.ledger.decide(reservation(at_us, limit(100)))).hold_id
    harness.close()
    return harness.path


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("YES", 0), ("\n", 1), ("no\n", 1), ("", 1)]
)
def test_the_time_of_a_ledger_is_set_back_after_a_question(
    answer: str, code: int, ahead: Path
) -> None:
    """It shows what changes first; no answer is a no, with which nothing changes."""
    command = [
        sys.executable,
        "-m",
        "sidecar",
        "ledger",
        "set-time",
        "--ledger",
        str(ahead),
        *SIGNED,
    ]
    done = subprocess.run(command, input=answer, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == code, done.stderr
    assert "decisions after that: 1, denials among them;" in done.stdout
    assert "open holds of these: 1;" in done.stdout
    assert done.stdout.count("its time was set back") == 1 - code
    _, out, _ = sidecar(
        "ledger", "export", "time_corrections", "--format", "json", "--ledger", ahead
    )
    rows = json.loads(out)
    assert [row["signed_by"] for row in rows] == ["ada@example.com"] * (1 - code)
    assert sidecar("ledger", "verify", "--ledger", ahead)[0] == 0


def test_setting_a_time_back_without_a_question_is_done_once(ahead: Path) -> None:
    """With --yes; the second time there is nothing to do. A name and a reason are required."""
    command = ("ledger", "set-time", "--yes", "--ledger", ahead)
    for blank in (("--signed-by", "", "--reason", "x"), ("--signed-by", "x", "--reason", " ")):
        code, _, err = sidecar(*command, *blank)
        assert (code, "is missing" in err) == (2, True), err
    for expected in ("its time was set back", "its time is not ahead of the clock"):
        code, out, err = sidecar(*command, *SIGNED)
        assert (code, expected in out) == (0, True), err


def test_commands_that_write_need_a_ledger_that_is_not_in_use(start_sidecar: Start) -> None:
    """A ledger has one writer."""
    started = start_sidecar()
    started.stub.Authorize(chat())
    common = ("--ledger", started.ledger)
    adjust = ("--rule", RULE, "--scope", "dev-workspace", "--amount=1", *SIGNED)
    for command in (("prune",), ("adjust", *adjust), ("set-time", "--yes", *SIGNED)):
        code, _, err = sidecar("ledger", *command, *common)
        assert (code, "another sidecar" in err) == (1, True), command


def test_prune_keeps_decisions_within_the_retention(stopped: Path) -> None:
    """What a running sidecar does by itself, on demand."""
    code, out, _ = sidecar("ledger", "prune", "--ledger", stopped)
    assert (code, out) == (0, f"{stopped}: 0 decisions deleted\n")
    assert sidecar("ledger", "prune", "--ledger", stopped.with_name("none"))[0] == 1


def test_a_table_is_exported_alike_in_every_format(stopped: Path, tmp_path: Path) -> None:
    """CSV, JSON, Parquet and Arrow have the same rows."""

    def export(kind: str, *to: object) -> str:
        command = ("ledger", "export", "budgets", "--ledger", stopped, "--format", kind)
        code, out, err = sidecar(*command, *to)
        assert code == 0, err
        return out

    rows = json.loads(export("json"))
    assert rows[0]["rule"]
    assert [row["rule"] for row in csv.DictReader(export("csv").splitlines())] == [
        row["rule"] for row in rows
    ]
    export("parquet", "--to", tmp_path / "b.parquet")
    export("arrow", "--to", tmp_path / "b.arrow")
    assert parquet.read_table(tmp_path / "b.parquet").to_pylist() == rows
    assert feather.read_table(tmp_path / "b.arrow").to_pylist() == rows


def test_an_exported_cell_is_no_formula(tmp_path: Path) -> None:
    """Names come from apps; in JSON they are unchanged."""
    path = tmp_path / "ledger.sqlite"
    harness = LedgerHarness(SqliteLedger, path)
    harness.run(harness.ledger.decide(reservation(1, limit(None), principal_id="=HYPERLINK(1)")))
    harness.close()
    command = ("ledger", "export", "decisions", "--ledger", path, "--format")
    assert "'=HYPERLINK(1)" in sidecar(*command, "csv")[1]
    assert '"=HYPERLINK(1)"' in sidecar(*command, "json")[1]


def test_export_of_an_unknown_table_lists_the_tables(stopped: Path) -> None:
    """Other tables of the file are not shown."""
    code, _, err = sidecar("ledger", "export", "sqlite_schema", "--ledger", stopped)
    assert (code, "decision_log" in err) == (2, True)
