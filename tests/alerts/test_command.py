"""The command channel: JSON on standard input, no shell, and a timeout."""

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from support.alerts import alert
from support.sidecar_process import eventually

from sidecar.alerts.channel import LogChannel, NotDeliveredError
from sidecar.alerts.command import CommandChannel


def deliver(command: str, timeout_seconds: float = 20) -> str:
    """Run a command once; return why it did not deliver, "" if it did."""
    try:
        asyncio.run(CommandChannel(command, timeout_seconds).deliver(alert()))
    except NotDeliveredError as error:
        return str(error)
    return ""


def python(program: str, *args: object) -> str:
    """Return the command line of a Python program."""
    return shlex.join([sys.executable, "-c", program, *map(str, args)])


def test_a_command_reads_the_alert(tmp_path: Path) -> None:
    """All of it, and exit code 0 is a delivery."""
    program = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    file = tmp_path / "x; $(touch y) *"
    assert deliver(python(program, file)) == ""
    assert json.loads(file.read_text()) == alert().document()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("", ""),
    ],
)
def test_only_exit_code_0_is_a_delivery(program: str, expected: str) -> None:
    """Also of a command that reads nothing."""
    assert deliver(python(program)) == expected


def test_a_command_that_does_not_end_is_killed() -> None:
    """It counts as a failed delivery."""
    assert deliver("sleep 60", 0.1) == "killed after 0.1 s"


def test_a_cancelled_command_is_killed_with_its_child_processes(
    tmp_path: Path,
) -> None:
    """A stop of the sidecar leaves no process behind."""
    file = tmp_path / "pids"
    os.mkfifo(file)
    program = (
        "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
    )

    async def give_up() -> tuple[int, int]:
        delivering = asyncio.create_task(CommandChannel(python(program, file)).deliver(alert()))
        own, child = (await asyncio.to_thread(file.read_text)).split()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        return int(own), int(child)

    own, child = asyncio.run(give_up())
    assert not Path(f"/proc/{own}").exists()
    eventually(lambda: gone(child))


def gone(pid: int) -> bool:
    """Whether a process that is not a child of this one has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return state.rpartition(") ")[2][0] in "ZX"


def test_a_command_does_not_see_the_sidecars_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have secrets in them."""
    monkeypatch.setenv("SIDECAR_ALERT_WEBHOOK", "https://user:hunter2@example.com")
    program = "import os; raise SystemExit(any(k.startswith('SIDECAR_') for k in os.environ))"
    assert deliver(python(program)) == ""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("no-such-program x", "not an executable program"),
        ("", "not an executable program"),
        ("'x", "cannot be split"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command: str, expected: str) -> None:
    """At the start, not when it is needed."""
    with pytest.raises(ValueError, match=expected):
        CommandChannel(command)


def test_the_log_has_one_line_whatever_a_scope_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name cannot add a second line to the log."""
    asyncio.run(LogChannel().deliver(alert(scope="é\nlab\u2028\x1b[31m")))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "alert threshold alert_1: monthly has reached 80 %" in record.message
    assert r"for é\nlab\u2028\x1b[31m: $7.00 spent" in record.message
