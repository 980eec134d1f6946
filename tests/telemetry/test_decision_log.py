"""The decision log: whole lines, only with the configured fields, and without delaying calls."""

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.outside import METRICS, lines, page, samples, value
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.telemetry.decision_log import FIELDS
from sidecar.telemetry.line_queue import MAX_LINES

Start = Callable[..., RunningSidecar]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget, and two rules of which one has no effect."""
    return minimal(
        tmp_path / "p",
        daily=limit("100000000", meter="tokens"),
        large=deny("request.tokens > 1000", message="no, {principal.id}"),
        trial=deny("true", mode="shadow"),
    )


def paths(value: Any, prefix: str = "") -> set[str]:
    """Return the path of each field that has a value of its own."""
    if isinstance(value, dict):
        return {p for name, part in value.items() for p in paths(part, f"{prefix}.{name}")}
    if isinstance(value, list):
        return {p for part in value for p in paths(part, prefix)}
    return {prefix.removeprefix(".")}


def flood(running: RunningSidecar, calls: int, prefix: str = "f") -> None:
    """Decide many calls at once."""
    requests = (
        chat(tester(), model="small-1", request_id=f"{prefix}{n}", dry_run=True)
        for n in range(calls)
    )
    assert len(list(running.stub.AuthorizeStream(requests, timeout=60))) == calls


def test_each_decision_and_each_end_of_a_hold_is_a_line(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """All maskable fields are in it, and no others; the line matches the response."""
    file = tmp_path / "d.jsonl"
    running = start_sidecar(policies, "--decision-log", str(file))
    own = running.stub
    allowed = own.Authorize(chat(tester(), model="small-1", request_id="one"))
    own.Authorize(chat(tester(), model="small-1", request_id="one"))
    denied = own.Authorize(chat(tester(), model="small-1", estimate={"input_tokens": 5000}))
    own.Authorize(chat(tester(), model="small-1", dry_run=True))
    own.Settle(pb.SettleRequest(hold_id=allowed.hold_id, usage=pb.Usage(output_tokens=999)))
    own.Release(pb.ReleaseRequest(hold_id=allowed.hold_id))
    with pytest.raises(grpc.RpcError):
        own.Authorize(pb.AuthorizeRequest())
    assert running.stop() == 0
    written = lines(file)
    assert [(line["kind"], line.get("mode"), line.get("effect")) for line in written] == [
        ("decision", "enforce", "allow"),
        ("decision", "repeat", "allow"),
        ("decision", "enforce", "deny"),
        ("decision", "dry_run", "allow"),
        ("settle", None, None),
        ("release", None, None),
    ]
    assert {p for line in written for p in paths(line)} == FIELDS
    assert written[0]["decision_id"] == written[1]["decision_id"] == allowed.decision_id
    assert written[2]["reasons"][0]["rule"] == denied.reasons[0].rule == "large"
    assert written[0]["shadow_reasons"][0]["rule"] == "trial"
    assert written[0]["policy"]["digest"] == allowed.policy_digest
    assert (written[4]["overrun"], written[4]["charged_tokens"]) == (True, 1099)
    assert file.stat().st_mode & 0o007 == 0


def test_masked_fields_and_labels_that_were_not_named_are_in_no_line(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """In lists, too; a label only if it was named and not masked."""
    file = tmp_path / "d.jsonl"
    masks = ("principal.id", "reasons.message", "budgets.scope", "principal.labels.a.b")
    flags = [flag for path in masks for flag in ("--decision-log-mask", path)]
    labels = ("--decision-log-label", "team", "--decision-log-label", "a.b")
    running = start_sidecar(policies, "--decision-log", str(file), *flags, *labels)
    who = tester(id="ada@example.com", labels={"team": "red", "token": "hunter2", "a.b": "hunter3"})
    running.stub.Authorize(chat(who, model="small-1"))
    running.stub.Authorize(chat(who, model="small-1", estimate={"input_tokens": 5000}))
    assert running.stop() == 0
    first, second = lines(file)
    assert first["principal"]["labels"] == {"team": "red", "a.b": "***"}
    assert first["principal"]["id"] == "***"
    assert {budget["scope"] for budget in first["budgets"]} == {"***"}
    assert [reason["message"] for reason in second["reasons"]] == ["***"]
    for private in ("ada@example.com", "hunter2", "hunter3"):
        assert private not in file.read_text()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--decision-log", "d", "--decision-log-mask", "principal.ID"],
         "--decision-log-mask: principal.ID: no such field"),
        (["--decision-log", "d", "--decision-log-mask", "principal.labels.team"], "no such field"),
        (["--decision-log", "no/such/folder/d"], "--decision-log: no/such/folder/d: cannot be"),
        (["--decision-log", "."], "--decision-log: .: cannot be written"),
        (["--decision-log-mask", "principal.id"], "--decision-log-mask: needs --decision-log"),
    ],
)  # fmt: skip
def test_invalid_settings_of_the_decision_log_stop_the_start(
    flags: list[str], expected: str, policies: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A typo in a mask must not show what should be masked."""
    monkeypatch.chdir(tmp_path)
    common = ("serve", "--policies", policies, "--ledger", "l", "--listen", "127.0.0.1:0")
    code, _, err = command(*common, *flags)
    assert (code, expected in err) == (2, True), err


def test_a_rotated_file_is_opened_again(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """By its inode: every line is whole, and in one of the files, once."""
    file, old = tmp_path / "d.jsonl", tmp_path / "d.jsonl.1"
    running = start_sidecar(policies, "--decision-log", str(file))
    own, decision_ids = running.stub, []

    def ask() -> bool:
        decision_ids.append(own.Authorize(chat(tester(), model="small-1")).decision_id)
        return file.exists() and file.stat().st_size > 0

    eventually(ask)
    file.rename(old)
    eventually(ask)
    assert running.stop() == 0
    written = [line["decision_id"] for line in lines(old) + lines(file)]
    assert decision_ids == written


def test_a_full_disk_stops_no_decision_and_lines_are_dropped_and_counted(
    start_sidecar: Start, policies: Path
) -> None:
    """`drop`: /dev/full is always full."""
    running = start_sidecar(policies, "--decision-log", "/dev/full", *METRICS)
    flood(running, MAX_LINES + 500)
    found = samples(page(running))
    assert value(found, "sidecar_decision_log_dropped_lines_total") == 500
    assert value(found, "sidecar_decision_log_queue_lines") == MAX_LINES
    assert value(found, "sidecar_decision_log_lines_total") == 0
    assert running.stop() == 0
    assert "the decision log cannot be written; retrying: No space left" in running.log
    assert f"{MAX_LINES} lines of the decision log were not written" in running.log


def test_a_fifo_without_a_reader_keeps_some_lines_and_counts_the_rest(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """`drop`: a later reader gets the number of dropped lines."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = start_sidecar(policies, "--decision-log", str(fifo))
    flood(running, MAX_LINES + 100)
    reader = subprocess.Popen(["/bin/cat", str(fifo)], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert reader.stdout is not None
    for _ in range(MAX_LINES):
        assert '"kind":"decision"' in reader.stdout.readline()
    running.stub.Authorize(chat(tester(), model="small-1"))
    assert '"lines_dropped_before":100' in reader.stdout.readline()
    assert running.stop() == 0
    reader.communicate()


def test_with_block_no_call_is_decided_that_cannot_be_logged(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """Calls wait before anything is held, and go on when there is room."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    flags = ("--decision-log", str(fifo), "--decision-log-full", "block")
    running = start_sidecar(policies, *flags)
    flood(running, MAX_LINES)
    own = running.stub
    with pytest.raises(grpc.RpcError) as caught:
        own.Authorize(chat(tester(), model="small-1"), timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    budgets = own.GetBudgets(pb.GetBudgetsRequest(principal=tester())).budgets
    assert [budget.held for budget in budgets] == [0]
    reader = subprocess.Popen(["/bin/cat", str(fifo)], stdout=subprocess.DEVNULL)  # noqa: S603
    assert own.Authorize(chat(tester(), model="small-1"), timeout=30).hold_id
    flood(running, 10_000, "g")
    assert running.stop() == 0
    reader.wait(30)


def test_a_sidecar_stops_though_calls_wait_for_a_log_that_is_stuck(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """They are refused after the grace, and the exit code is 0."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    flags = ("--decision-log", str(fifo), "--decision-log-full", "block", "--grace-seconds", "1")
    running = start_sidecar(policies, *flags)
    flood(running, MAX_LINES)
    waiting = running.stub.Authorize.future(chat(tester(), model="small-1"), timeout=60)
    assert running.stop() == 0
    with pytest.raises(grpc.RpcError):
        waiting.result()


def test_unread_standard_output_delays_no_call(start_sidecar: Start, policies: Path) -> None:
    """A pipe is full after some hundred lines."""
    running = start_sidecar(policies, "--decision-log", "-", stdout=subprocess.PIPE)
    flood(running, 2000)
    assert running.process is not None
    assert running.process.stdout is not None
    first = running.process.stdout.readline()
    assert '"kind":"decision"' in first
    running.process.terminate()
    assert running.process.wait(30) == 0
    running.process.communicate()


PROGRAM = """
import resource, sys, threading
from sidecar.telemetry.line_file import LineFile
limits = (1000, resource.RLIM_INFINITY)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
def tell(error):
    print(error, flush=True)
    if error:
        threading.Timer(0.3, make_room).start()
file = LineFile(sys.argv[1], tell)
for number in range(20):
    file.write(b"".join(b'{"n":%d,"pad":"%s"}\\n' % (number * 10 + n, b"x" * 90) for n in range(10)))
"""


def test_a_line_that_a_full_disk_cut_short_is_completed(tmp_path: Path) -> None:
    """When there is room again, every line is there, whole and once."""
    file = tmp_path / "d.jsonl"
    program = PROGRAM.replace("sys.argv[1]", repr(str(file)))
    code, out, err = command(program=program)
    assert (code, out) == (0, "File too large\n\n"), err
    assert [line["n"] for line in lines(file)] == list(range(200))


def test_lines_of_concurrent_calls_are_not_mixed(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """Eight clients at once."""
    file = tmp_path / "d.jsonl"
    running = start_sidecar(policies, "--decision-log", str(file))
    crowd = [
        threading.Thread(target=flood, args=(running, 200, f"c{number}-")) for number in range(8)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert running.stop() == 0
    assert len({line["request_id"] for line in lines(file)}) == 1600


def test_decisions_for_clients_that_hang_up_are_logged(
    start_sidecar: Start, policies: Path, tmp_path: Path
) -> None:
    """A caller that does not wait for its answers hides nothing from the log."""
    file = tmp_path / "d.jsonl"
    running = start_sidecar(policies, "--decision-log", str(file))
    own = running.stub
    own.Authorize(chat(tester(), model="small-1", request_id="the first, which takes longer"))
    began = time.monotonic()
    own.Authorize(chat(tester(), model="small-1", request_id="another"))
    usual_seconds = time.monotonic() - began
    for number in range(200):
        call = own.Authorize.future(chat(tester(), model="small-1", request_id=f"r{number}"))
        time.sleep(number % 10 / 5 * usual_seconds)
        call.cancel()
    assert running.stop() == 0
    with contextlib.closing(sqlite3.connect(running.ledger)) as ledger:
        decided = {row for (row,) in ledger.execute("SELECT request_id FROM decision_log")}
    assert len(decided) > 20
    assert {line["request_id"] for line in lines(file)} == decided
