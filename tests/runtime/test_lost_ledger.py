"""A real sidecar whose ledger is moved or deleted while it serves."""

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support.commands import sidecar as command
from support.outside import METRICS, page
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

from sidecar.ledger.ledger_marker import LedgerMarker
from sidecar.ledger.protocol import LedgerRefusedError

Start = Callable[..., RunningSidecar]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget of a thousand tokens; a call takes 200."""
    return minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))


def unavailable(running: RunningSidecar, **changes: object) -> str:
    """Return the message of a call that is not decided."""
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Authorize(chat(tester(), model="small-1", **changes))
    assert error_info(caught.value).reason == "LEDGER_UNAVAILABLE"
    return str(caught.value.details())


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite.lock"])
def test_nothing_is_answered_from_a_file_that_is_out_of_its_place(
    name: str, start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """L4: not even a dry run. It is not ready, and says why; the file put back, it goes on."""
    running = start_sidecar(policies, *METRICS)
    first = running.stub.Authorize(chat(tester(), model="small-1", request_id="first"))
    (tmp_path / name).rename(tmp_path / "elsewhere")
    for dry_run in (False, True):
        text = unavailable(running, dry_run=dry_run)
        assert "was moved, deleted or replaced while in use" in text
        assert str(tmp_path) not in text
    (tmp_path / name).write_bytes(b"")  # the name is not enough
    unavailable(running)
    eventually(lambda: "\nsidecar_ready 0.0" in page(running))
    (tmp_path / "elsewhere").rename(tmp_path / name)
    eventually(lambda: "\nsidecar_ready 1.0" in page(running))
    again = running.stub.Authorize(chat(tester(), model="small-1", request_id="first"))
    assert (again.hold_id, again.replayed) == (first.hold_id, True)
    assert running.stop() == 0
    assert "not ready: the ledger cannot be written: the ledger" in running.log
    assert command("ledger", "verify", "--ledger", running.ledger)[0] == 0


def test_a_link_that_names_another_file_is_noticed(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """L4: the next start would open the other one."""
    link = tmp_path / "link.sqlite"
    link.symlink_to(tmp_path / "ledger.sqlite")
    running = start_sidecar(policies, ledger=link)
    running.stub.Authorize(chat(tester(), model="small-1"))
    link.unlink()
    link.symlink_to(tmp_path / "other.sqlite")
    assert "was moved, deleted or replaced while in use" in unavailable(running)


def test_a_sidecar_that_lost_its_lock_leaves_the_ledger_to_the_next(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """One of the two answers; the other one's end deletes nothing of a new ledger."""
    first = start_sidecar(policies)
    first.stub.Authorize(chat(tester(), model="small-1"))
    moved = tmp_path / "moved.sqlite"
    first.ledger.rename(moved)
    for end in ("-wal", "-shm", ".lock"):
        Path(f"{first.ledger}{end}").unlink()
    second = start_sidecar(policies)
    assert second.stub.Authorize(chat(tester(), model="small-1")).hold_id
    unavailable(first)
    assert first.stop() == 0
    for _ in range(4):
        assert second.stub.Authorize(chat(tester(), model="small-1")).hold_id
    assert second.stop() == 0
    for ledger, calls in ((moved, 1), (second.ledger, 5)):
        with sqlite3.connect(ledger) as connection:
            assert connection.execute("SELECT count(*) FROM holds").fetchone() == (calls,)
        connection.close()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A place for a marker, in a folder that is not there yet."""
    return tmp_path / "elsewhere" / "marker"


def test_a_ledger_that_is_gone_is_noticed_by_its_marker(
    start_sidecar: Start, policies: Path, marker: Path, tmp_path: Path
) -> None:
    """The first start makes it; without the ledger, or with an empty file, no start is one."""
    running = start_sidecar(policies, "--ledger-marker", str(marker))
    running.stub.Authorize(chat(tester(), model="small-1"))
    assert running.stop() == 0
    assert f"{marker}: a new marker; from now on only this ledger is used" in running.log
    kept = tmp_path / "kept.sqlite"
    running.ledger.rename(kept)
    serve = ("serve", "--policies", policies, "--ledger", running.ledger, "--ledger-marker", marker)
    for empty in (False, True):
        if empty:
            running.ledger.touch()
        code, _, err = command(*serve, "--listen", "127.0.0.1:0")
        assert (code, "there is no ledger, but" in err) == (1, True), err
    kept.replace(running.ledger)
    assert running.restart().stop() == 0
    running.ledger.unlink()
    marker.unlink()  # as it says
    assert running.restart().stop() == 0


def test_another_ledger_than_the_marker_names_is_refused(
    start_sidecar: Start, policies: Path, marker: Path, tmp_path: Path
) -> None:
    """A backup is the same ledger; one that was new under another path is another."""
    first = start_sidecar(policies, "--ledger-marker", str(marker))
    first.stub.Authorize(chat(tester(), model="small-1"))
    copy = tmp_path / "copy.sqlite"
    assert command("ledger", "backup", copy, "--ledger", first.ledger)[0] == 0
    assert first.stop() == 0
    assert command("ledger", "restore", copy, "--ledger", first.ledger)[0] == 0
    assert first.restart().stop() == 0
    other = tmp_path / "other.sqlite"
    assert start_sidecar(policies, ledger=other).stop() == 0
    serve = ("serve", "--policies", policies, "--listen", "127.0.0.1:0")
    code, _, err = command(*serve, "--ledger", other, "--ledger-marker", marker)
    assert (code, "put that back, or restore a backup of it" in " ".join(err.split())) == (
        1,
        True,
    ), err
    with sqlite3.connect(other) as connection:
        (named,) = connection.execute("SELECT ledger_id FROM ledger_identity").fetchone()
    connection.close()
    assert named in err
    assert "give each a marker of its own" in " ".join(err.split())
    assert marker.read_text().strip() in err


@pytest.mark.parametrize(
    ("content", "code", "expected"),
    [
        (b"ledger_1\n", 1, "is not the marker of a ledger"),
        (b"", 1, "is not the marker of a ledger"),
        (b"x" * 10_000, 1, "is not the marker of a ledger"),
        ("folder", 1, "cannot be read"),
        ("pipe", 1, "is not the marker of a ledger"),
        ("link to nothing", 1, "is a link to nothing"),
        ("no folder", 1, "cannot be written"),
        ("beside", 2, "is in the folder of the ledger"),
    ],
)
def test_a_marker_that_cannot_be_one_is_refused(
    content: bytes | str, code: int, expected: str, policies: Path, marker: Path, tmp_path: Path
) -> None:
    """Fail closed: what cannot be read may have named another ledger."""
    if isinstance(content, bytes):
        marker.parent.mkdir()
        marker.write_bytes(content)
    elif content == "folder":
        marker.mkdir(parents=True)
    elif content == "pipe":
        marker.parent.mkdir()
        os.mkfifo(marker)
    elif content == "link to nothing":
        marker.parent.mkdir()
        marker.symlink_to(tmp_path / "not mounted" / "marker")
    elif content == "no folder":
        marker = marker / "too" / "deep"
    else:
        marker = tmp_path / "marker"
    serve = ("serve", "--policies", policies, "--listen", "127.0.0.1:0", "--ledger-marker", marker)
    found, _, err = command(*serve, "--ledger", tmp_path / "ledger.sqlite")
    assert (found, expected in " ".join(err.split())) == (code, True), err


def test_a_ledger_that_has_to_be_there_is_not_created(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """With --require-ledger a missing or empty file stops the start; without, the log says so."""
    ledger = tmp_path / "ledger.sqlite"
    serve = ("serve", "--policies", policies, "--listen", "127.0.0.1:0", "--require-ledger")
    for empty in (False, True):
        if empty:
            ledger.touch()
        code, _, err = command(*serve, "--ledger", ledger)
        assert (code, "--require-ledger" in err, ledger.exists()) == (1, True, empty), err
    ledger.unlink()
    running = start_sidecar(policies)
    assert running.stop() == 0
    assert "a new ledger, with which every budget is full" in running.log
    again = start_sidecar(policies, "--require-ledger")
    assert again.stop() == 0
    assert "a new ledger" not in again.log


def test_of_two_first_starts_with_one_marker_one_is_refused(tmp_path: Path) -> None:
    """Both ledgers are new and full; the marker names one of them, and not in turns."""
    for round_number in range(50):
        place = tmp_path / f"{round_number}" / "marker"
        together = threading.Barrier(2)

        def start(digit: str, place: Path = place, together: threading.Barrier = together) -> bool:
            marker = LedgerMarker(place, tmp_path / "ledger.sqlite")
            together.wait()
            try:
                marker.check(f"ledger_{digit * 32}")
            except LedgerRefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as starts:
            accepted = dict(zip("ab", starts.map(start, "ab"), strict=True))
        (named,) = (digit for digit, served in accepted.items() if served)
        assert place.read_text() == f"ledger_{named * 32}\n"
