"""A1 and A2 on real sidecars: with kills, stops, and receivers that fail."""

import json
import os
import shlex
import signal
import socket
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.policies import MODELS, limit, minimal
from support.receiver import SECRET, Receiver, receiver
from support.sidecar_process import RunningSidecar, chat, eventually, stub, tester

Start = Callable[..., RunningSidecar]

PRIVATE = ("hunter2", "s3cr3t", SECRET)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A budget of 20 calls of 200 tokens a day, and nothing else."""
    return minimal(tmp_path / "p", daily=limit("4000", meter="tokens"))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file with the shared secret."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


def webhook(server: Receiver, secret: Path) -> dict[str, str]:
    """Return the settings of a webhook whose URL has a password."""
    return {
        "SIDECAR_ALERT_WEBHOOK": server.url,
        "SIDECAR_ALERT_WEBHOOK_SECRET_FILE": str(secret),
    }


def ask(running: RunningSidecar, calls: int, first: int = 0) -> list[pb.AuthorizeResponse]:
    """Make this many calls."""
    own = running.stub
    return [
        own.Authorize(chat(tester(), model="small-1", request_id=f"{n}"), timeout=20)
        for n in range(first, first + calls)
    ]


def rows(running: RunningSidecar, sql: str) -> list[Any]:
    """Query the ledger file."""
    connection = sqlite3.connect(f"file:{running.ledger}?mode=ro", uri=True)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


def owed(running: RunningSidecar) -> int:
    """Return the number of open deliveries."""
    sql = "SELECT count(*) FROM alert_deliveries WHERE delivered_at_us IS NULL"
    return int(rows(running, sql)[0][0])


def show_nothing_private(running: RunningSidecar) -> None:
    """Neither the log nor the ledger has a secret, the URL's among them."""
    texts = [running.log.encode(), *(p.read_bytes() for p in running.ledger.parent.glob("l*e*"))]
    assert [word for word in PRIVATE for text in texts if word.encode() in text] == []


def test_alerts_reach_the_log_a_webhook_and_a_command(
    start_sidecar: Start, policies: Path, secret: Path, tmp_path: Path
) -> None:
    """A1, A2: each of three thresholds once, everywhere."""
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    delivered = tmp_path / "delivered"
    words = shlex.join([sys.executable, "-c", program, str(delivered)])
    with receiver() as server:
        running = start_sidecar(policies, "--alert-command", words, env=webhook(server, secret))
        ask(running, 25)
        eventually(lambda: rows(running, "SELECT 1 FROM alerts") and not owed(running), 30)
        assert running.stop() == 0
    assert sorted(alert["percent"] for alert in server.alerts) == [50, 80, 100]
    by_command = [json.loads(line) for line in delivered.read_text().splitlines()]
    key = "alert_id"
    assert sorted(by_command, key=lambda a: a[key]) == sorted(server.alerts, key=lambda a: a[key])
    assert running.log.count("alert threshold") == 3
    assert "daily has reached 80 % of 4,000 tokens for lab" in running.log
    show_nothing_private(running)


def test_alerts_of_two_sidecars_name_sidecar_and_share(
    start_sidecar: Start, policies: Path, secret: Path, tmp_path: Path
) -> None:
    """Two halves of a budget reach their own 50 %: instance, share and the whole are named."""
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    delivered, names = tmp_path / "delivered", []
    words = shlex.join([sys.executable, "-c", program, str(delivered)])
    with receiver() as server:
        for name in "ab":
            ledger = tmp_path / f"{name}.sqlite"
            running = start_sidecar(
                policies, "--share", "1/2", "--alert-command", words,
                ledger=ledger, env=webhook(server, secret),
            )  # fmt: skip
            ask(running, 5)
            eventually(lambda own=running: rows(own, "SELECT 1 FROM alerts") and not owed(own), 30)
            assert running.stop() == 0
            names.append(f"{socket.gethostname()}:{ledger.resolve()}")
            text = (
                "daily has reached 50 % of 2,000 tokens for lab: 0 tokens spent, 1,000 tokens"
                " held, until "
            )
            whose = f"; sidecar {names[-1]}, share 1/2 of 4,000 tokens"
            assert [text in line and line.endswith(whose) for line in lines(running)] == [True]
    by_command = [json.loads(line) for line in delivered.read_text().splitlines()]
    for bodies in (server.alerts, by_command):
        assert [(one["instance"], one["share"]) for one in bodies] == [(n, "1/2") for n in names]
        assert [one["text"].endswith("share 1/2 of 4,000 tokens") for one in bodies] == [True] * 2
        assert {(one["ceiling"], one["undivided_ceiling"]) for one in bodies} == {(2000, 4000)}


def lines(running: RunningSidecar) -> list[str]:
    """Return the log's lines of alerts."""
    return [line for line in running.log.splitlines() if "alert threshold" in line]


def test_alerts_survive_a_kill_between_being_raised_and_delivered(
    start_sidecar: Start, policies: Path, secret: Path
) -> None:
    """A1, A2: killed with -9 while attempts hang, twice; then each is delivered, under one id."""
    with receiver() as server:
        server.answer = "hang"
        running = start_sidecar(policies, env=webhook(server, secret))
        ask(running, 12)
        eventually(lambda: server.requests)
        running.stop(signal.SIGKILL)
        running.restart()
        ask(running, 13, first=12)
        eventually(lambda: len(server.requests) > 1)
        running.stop(signal.SIGKILL)
        assert rows(running, "SELECT percent FROM alerts ORDER BY id") == [(50,), (80,), (100,)]
        sent = len(server.requests)
        server.answer = 204
        server.released.set()
        running.restart()
        eventually(lambda: not owed(running), 30)
        ids = {row[0] for row in rows(running, "SELECT alert_id FROM alerts")}
        assert {alert["alert_id"] for alert in server.alerts[sent:]} == ids
        assert {alert["alert_id"] for alert in server.alerts} == ids
    show_nothing_private(running)
    assert command("ledger", "verify", "--ledger", running.ledger)[0] == 0


def test_a_model_that_retires_is_reported_once_though_the_sidecar_is_killed(
    start_sidecar: Start, tmp_path: Path, secret: Path
) -> None:
    """A1, A2: with its day and its replacement, under one id."""
    day = datetime.now(UTC).date() + timedelta(days=3)
    models = f"{MODELS}  old-1:\n    family: old\n    retires_on: {day}\n    replaced_by: small-1\n"
    with receiver() as server:
        server.answer = "hang"
        running = start_sidecar(
            minimal(tmp_path / "p", models_yaml=models), env=webhook(server, secret)
        )
        running.stub.Authorize(chat(tester(), model="old-1"), timeout=20)
        eventually(lambda: server.requests)
        running.stop(signal.SIGKILL)
        server.answer = 204
        server.released.set()
        running.restart()
        running.stub.Authorize(chat(tester(), model="old-1"), timeout=20)
        eventually(lambda: not owed(running), 30)
    (alert,) = {json.dumps(one) for one in server.alerts}
    body = json.loads(alert)
    assert (body["kind"], body["scope"], body["replaced_by"]) == (
        "model_retires",
        "old-1",
        "small-1",
    )
    assert f"model old-1 retires on {day}: use small-1" in body["text"]


def test_concurrent_clients_raise_each_threshold_once(
    start_sidecar: Start, policies: Path, secret: Path
) -> None:
    """A1: 16 clients at once, over the last token of the budget and further."""
    with receiver() as server:
        running = start_sidecar(policies, env=webhook(server, secret))

        def client(number: int) -> None:
            own = stub(running.addresses[0])
            for n in range(5):
                own.Authorize(chat(tester(), model="small-1", request_id=f"{number}-{n}"))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(client, range(16)))
        eventually(lambda: not owed(running), 30)
        assert Counter(alert["percent"] for alert in server.alerts) == {50: 1, 80: 1, 100: 1}


def test_a_silent_receiver_delays_neither_decisions_nor_the_stop(
    start_sidecar: Start, tmp_path: Path, secret: Path
) -> None:
    """Every decision raises an alert; then the sidecar exits with code 0."""
    rule = limit("1", per="principal.id", extra="// alert_at: 100%\n")
    each = minimal(tmp_path / "p", each=rule)
    with receiver() as server:
        server.answer = "hang"
        running = start_sidecar(each, "--alert-command", "sleep 600", env=webhook(server, secret))
        own = running.stub
        for n in range(200):
            own.Authorize(chat(tester(id=f"p{n}"), model="small-1"), timeout=20)
        eventually(lambda: server.requests)
        assert running.stop() == 0
        assert not server.released.is_set()
    undelivered = "SELECT count(*) FROM alert_deliveries WHERE delivered_at_us IS NULL"
    assert rows(running, f"{undelivered} AND channel = 'webhook'") == [(200,)]
    assert rows(running, f"{undelivered} AND channel = 'command'") == [(200,)]


@pytest.mark.parametrize("answer", [500, 302, "close"])
def test_an_alert_is_retried_until_the_receiver_accepts_it(
    answer: int | str, start_sidecar: Start, policies: Path, secret: Path
) -> None:
    """A2: after any failure; the ledger has the error, without a secret."""
    with receiver() as server:
        server.answer = answer
        running = start_sidecar(policies, env=webhook(server, secret))
        ask(running, 10)
        failed = "SELECT last_error, attempts FROM alert_deliveries WHERE attempts > 1"
        eventually(lambda: rows(running, f"{failed} AND channel = 'webhook'"), 30)
        server.answer = 200
        eventually(lambda: not owed(running), 30)
        running.stop()
        assert "alerts by webhook fail, and are tried again: " in running.log
        assert "alerts by webhook are delivered again" in running.log
        assert {path for path, _, _ in server.requests} == {"/s3cr3t-path?k=s3cr3t-key"}
    show_nothing_private(running)


def test_a_receiver_that_starts_late_gets_the_alert(
    start_sidecar: Start, policies: Path, secret: Path
) -> None:
    """A2: no process listened when it was raised."""
    with receiver() as server:
        port, url = server.server_address[1], server.url
    names = ("SIDECAR_ALERT_WEBHOOK", "SIDECAR_ALERT_WEBHOOK_SECRET_FILE")
    running = start_sidecar(policies, env=dict(zip(names, (url, str(secret)), strict=True)))
    ask(running, 10)
    eventually(lambda: rows(running, "SELECT 1 FROM alert_deliveries WHERE last_error <> ''"))
    with receiver(port) as server:
        eventually(lambda: not owed(running), 30)
        assert [alert["percent"] for alert in server.alerts] == [50]


def test_alerts_are_listed(start_sidecar: Start, policies: Path) -> None:
    """For people and for programs, with the deliveries; also while the ledger is in use."""
    running = start_sidecar(policies)
    ask(running, 10)
    eventually(lambda: not owed(running))
    code, out, _ = command("ledger", "alerts", "--ledger", running.ledger)
    assert (code, "threshold 50 %" in out, "1 alert\n" in out) == (0, True, True)
    _, out, _ = command("ledger", "alerts", "--ledger", running.ledger, "--format", "json")
    ((listed),) = json.loads(out)
    assert (listed["rule"], listed["scope"], listed["percent"]) == ("daily", "lab", 50)
    ((delivery),) = listed["deliveries"]
    assert (delivery["channel"], delivery["attempts"]) == ("log", 1)
    assert delivery["delivered_at_utc"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--alert-webhook", "http://hunter2.example.com", "--alert-webhook-secret-file", "S"],
         "--alert-webhook: must begin with https://"),
        (["--alert-webhook", "https://example.com"], "need each other"),
        (["--alert-webhook-secret-file", "S"], "need each other"),
        (["--alert-webhook", "https://example.com", "--alert-webhook-secret-file", "none"],
         "--alert-webhook-secret-file: none: cannot be read: No such file"),
        (["--alert-command", "no-such-program"], "--alert-command: its first word is not an executable program"),
    ],
)  # fmt: skip
def test_a_wrong_flag_stops_the_start(
    flags: list[str], expected: str, policies: Path, secret: Path
) -> None:
    """Exit code 2, with the flag and the reason, and without what may be secret."""
    given = [str(secret) if flag == "S" else flag for flag in flags]
    ledger = secret.with_name("ledger.sqlite")
    common = ("serve", "--policies", policies, "--ledger", ledger, "--listen", "127.0.0.1:0")
    code, _, err = command(*common, *given)
    assert (code, expected in err, "hunter2" in err) == (2, True, False), err
    assert not os.path.lexists(ledger)
