"""Ledgers of every earlier version: dumps of files that those programs wrote, in `upgrades/`.

Each was filled by the sidecar of its time through its own API: calls that were settled, settled
above their hold, released, expired and denied, and two still open. The sixth is the fifth,
brought up to date; the seventh is the sixth, with calls that are billed by annotated pages,
by characters and by calls of tools; the eighth is the seventh, brought up to date; the ninth is the
eighth, with a call that its only limit released when it expired; the tenth is a new one, with a
total, a year and a week that begins on Sunday at six, whose first calls were pruned; the eleventh
is the tenth, with a call of a model that retires a day later; the twelfth is the eleventh, brought up
to date, and so are the thirteenth and the fourteenth; the fifteenth has three denials more, of which
two are kept; the sixteenth has four calls more, of another principal, whose holds are one row each; the
seventeenth has five more, whose budgets are packed, and one of them has no request_id; the eighteenth is
the seventeenth, brought up to date, with two shares of a fleet's budgets; the nineteenth is the eighteenth,
brought up to date.
"""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger.conftest import LedgerHarness
from sqlite_utils import Database
from support import disks
from support.authorizer_harness import AuthorizerHarness, codes
from support.commands import sidecar
from support.older_ledger import file_of
from support.policies import minimal
from support.sidecar_process import chat, principal

from sidecar.domain.clock import SECOND_US
from sidecar.domain.usage import UsageReport
from sidecar.ledger import ledger_file, schema
from sidecar.ledger.backup import restore
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.verify import verify

OLD = sorted((Path(__file__).parent / "upgrades").glob("*.sql"))
CURRENT = OLD[-1]

ALERTS = ("SELECT * FROM alert_log", "SELECT * FROM alert_deliveries")

each_version = pytest.mark.parametrize("dump", OLD, ids=lambda dump: dump.stem)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one old ledger, and not for its upgrade."""
    folder = tmp_path / "disk"
    size = file_of(OLD[0], tmp_path / "size.sqlite").stat().st_size
    with disks.small_disk(folder, size + 65_536):
        yield folder


def test_an_upgrade_without_room_says_so_and_loses_nothing(disk: Path, tmp_path: Path) -> None:
    """It needs up to twice the room that the ledger has; when there is some, it succeeds."""
    path = file_of(OLD[0], disk / "ledger.sqlite")
    budgets = "SELECT rule, scope, spent, held FROM budgets ORDER BY id"
    before = rows(path, budgets)
    code, _, error = sidecar(
        "serve", "--policies", minimal(tmp_path / "p"), "--ledger", path, "--listen", "127.0.0.1:0"
    )
    assert (code, "Traceback" in error) == (1, False)
    assert "its disk is full" in error
    assert "nothing is lost: make room, and start again" in error
    assert rows(path, budgets) == before
    disks.mount(disk, "remount,size=16m")
    upgraded = SqliteLedger(path)
    with closing(ledger_file.open_reader(path)) as reader:
        assert verify(reader)[0] == []
    asyncio.run(upgraded.close())
    assert rows(path, budgets) == before


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Read a file by hand."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def columns_of(path: Path, table: str) -> str:
    """Name the columns that a table of an old file has."""
    return ", ".join(
        name for (name,) in rows(path, f"SELECT name FROM pragma_table_info('{table}')")
    )


def hold_of(path: Path, request_id: str) -> str:
    """Return the hold that an old program gave to a request."""
    query = "SELECT request_id, hold_id FROM holds JOIN decisions USING (id)"
    return str(dict(rows(path, query))[request_id])


def test_there_is_an_old_ledger_of_every_version() -> None:
    """Each migration needs a dump of the version before it, and of its own."""
    names = [found.name for found in schema.migrations.pending(Database(memory=True))]
    assert names == [dump.stem for dump in OLD]


@each_version
def test_an_old_ledger_is_brought_up_to_date_and_stays_clean(dump: Path, tmp_path: Path) -> None:
    """L2, L4: nothing answered is lost or changed, and every budget is what it was."""
    path = file_of(dump, tmp_path / "ledger.sqlite")
    kept = (
        "SELECT decision_id, request_id, effect, reasons, budgets FROM decisions ORDER BY id",
        f"SELECT {columns_of(path, 'holds')} FROM holds ORDER BY id",
        f"SELECT {columns_of(path, 'budgets')} FROM budgets ORDER BY id",
        "SELECT * FROM hold_amounts ORDER BY hold, budget",
        *(["SELECT * FROM denials", "SELECT * FROM denials_gone"] if dump.stem >= "0015" else ()),
        *(ALERTS if dump.stem >= "0003" else ()),
        *([f"SELECT {columns_of(path, 'alerts')} FROM alerts"] if dump.stem >= "0003" else []),
    )
    before = [rows(path, query) for query in kept]
    harness = LedgerHarness(SqliteLedger, path)
    assert harness.findings() == []
    assert before == [rows(path, query) for query in kept]
    harness.close()


@each_version
def test_an_old_ledger_goes_on_deciding(
    dump: Path, open_harness: Callable[..., AuthorizerHarness], tmp_path: Path
) -> None:
    """L1, L3, L5: old answers are repeated, old holds end, and old spend counts."""
    path = file_of(dump, tmp_path / "ledger.sqlite")
    harness = open_harness(ledger=path)
    harness.now_us = harness.ledger.latest_us + SECOND_US
    again = harness.authorize(chat(principal(), request_id="settled"))
    assert again.hold_id == hold_of(path, "settled")
    denied = chat(principal(role="analyst"), model="mistral-large-latest", request_id="denied")
    assert codes(harness.authorize(denied)) == ["MODEL_NOT_ALLOWED"] * 2
    spent = {b.rule: b for b in harness.authorizer.budgets(principal(), "")[0]}["role-daily-tokens"]
    assert (spent.spent, spent.held) == (820, 200)  # as the dumps say: 130 + 490 + 200, and 200
    charge = harness.run(harness.authorizer.release(hold_of(path, "open"), "not sent"))
    assert charge.cost_nano_usd == 0
    late = harness.run(
        harness.authorizer.settle(hold_of(path, "expired"), UsageReport(), "", "cancelled")
    )
    assert late.cost_nano_usd == 75_000
    left = harness.authorize(chat(principal(), request_id="new"))
    assert codes(left) == []
    assert verify(ledger_file.open_reader(path))[0] == []


@each_version
def test_denials_of_an_old_ledger_are_kept_beside_new_ones(
    dump: Path, open_harness: Callable[..., AuthorizerHarness], tmp_path: Path
) -> None:
    """L3: the log has both, in their order, and one that is repeated is not recorded again."""
    path = file_of(dump, tmp_path / "ledger.sqlite")
    log = f"SELECT decision_id FROM {'all_decisions' if dump.stem >= '0015' else 'decisions'}"
    before = rows(path, f"{log} ORDER BY id")
    harness = open_harness(ledger=path)
    harness.now_us = harness.ledger.latest_us
    asked = [
        chat(principal(role="analyst"), model="mistral-large-latest", request_id=request_id)
        for request_id in ("denied", "denied-3", "new")
    ]
    answers = [harness.authorize(one) for one in (*asked, *asked)]
    assert answers[3:] == [replace(one, replayed=True) for one in answers[:3]]
    kept = [(answer.decision_id,) for answer in answers[:3]]
    assert rows(path, "SELECT decision_id FROM decision_log") == [
        *before,
        *(one for one in kept if one not in before),
    ]
    assert verify(ledger_file.open_reader(path))[0] == []


@each_version
def test_a_command_that_reads_says_how_an_old_file_becomes_current(
    dump: Path, tmp_path: Path
) -> None:
    """Reading changes no file, so an older one is refused with the way out, not with a trace."""
    path = file_of(dump, tmp_path / "ledger.sqlite")
    for command in (
        ("ledger", "verify"), ("ledger", "alerts"), ("ledger", "backup", tmp_path / "b.sqlite"), ("spend",),
    ):  # fmt: skip
        code, _, err = sidecar(*command, "--ledger", path)
        if dump == CURRENT:
            assert (code, err.strip()) == (0, "")
        else:
            assert code == 1
            assert "was written by an older version" in err
            assert "start a sidecar on it once" in err


@each_version
def test_a_backup_of_an_older_program_is_restored_up_to_date(dump: Path, tmp_path: Path) -> None:
    """After an upgrade, the backup from before it is still a backup."""
    backup = file_of(dump, tmp_path / "backup.sqlite")
    target = tmp_path / "ledger.sqlite"
    assert restore(backup, target) is None
    assert verify(ledger_file.open_reader(target))[0] == []
    kept = (
        "SELECT decision_id, chain FROM decisions"
        if dump.stem >= "0002"
        else "SELECT count(*) FROM decisions"
    )
    assert rows(target, kept) == rows(backup, kept)
    assert rows(backup, "SELECT name FROM _sqlite_migrations")[-1] == (dump.stem,)


def test_a_restore_that_cannot_be_done_leaves_the_ledger_in_its_place(tmp_path: Path) -> None:
    """The old file is put aside only when the new one is whole."""
    ledger = file_of(CURRENT, tmp_path / "ledger.sqlite")
    before = rows(ledger, "SELECT count(*) FROM decisions")
    backup = file_of(OLD[0], tmp_path / "backup.sqlite")
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("UPDATE budgets SET spent = spent + 1")
        connection.commit()
    with pytest.raises(LedgerRefusedError, match="is damaged"):
        restore(backup, ledger)
    assert rows(ledger, "SELECT count(*) FROM decisions") == before
    assert {"ledger.sqlite", "backup.sqlite"} == {
        file.name for file in tmp_path.iterdir() if file.suffix == ".sqlite"
    }


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from sidecar.ledger import chain
from sidecar.ledger.sqlite import SqliteLedger

link_all = chain.link_all
def killed(connection):
    link_all(connection)
    os.kill(os.getpid(), signal.SIGKILL)
chain.link_all = killed
SqliteLedger(Path(sys.argv[1]))
"""


def test_an_upgrade_that_is_killed_half_way_begins_anew(tmp_path: Path) -> None:
    """L4: a migration is one transaction; the next start finds the file as it was."""
    path = file_of(OLD[0], tmp_path / "ledger.sqlite")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)  # noqa: S603
    assert done.returncode == -9
    assert [(OLD[0].stem,)] == rows(path, "SELECT name FROM _sqlite_migrations")
    harness = LedgerHarness(SqliteLedger, path)
    assert harness.findings() == []
    harness.close()
