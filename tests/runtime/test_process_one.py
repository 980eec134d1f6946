"""The command as process 1 of a container: it gets every signal, and leaves no zombies."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import tools
from support.policies import limit, minimal
from support.sidecar_process import chat, eventually, stub, tester


@contextmanager
def process_one(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run the command line as process 1 of a namespace of its own."""
    namespace = [tools.program("unshare"), "--pid", "--mount-proc", "--fork", "--kill-child"]
    trial = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)  # noqa: S603
    if trial.returncode:
        tools.cannot(trial.stderr.strip())
    command = [*namespace, sys.executable, "-m", "sidecar", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as outside:  # noqa: S603
        try:
            yield outside
        finally:
            outside.kill()


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def states(pid: int) -> list[str]:
    """Return the states of the child processes of a process, as in `S` or `Z`."""
    texts = (Path(f"/proc/{child}/stat").read_text() for child in children(pid))
    return [text.rpartition(")")[2].split()[0] for text in texts]


def test_a_signal_during_the_start_is_not_lost(tmp_path: Path) -> None:
    """Here it waits for its settings file; process 1 would ignore SIGTERM so early."""
    settings = tmp_path / "settings"
    os.mkfifo(settings)
    with process_one("serve", "--config", settings) as outside:
        with settings.open("w"):  # once it is read, the command has begun
            (first,) = children(outside.pid)
            os.kill(first, signal.SIGTERM)
            assert outside.wait(30) == 128 + signal.SIGTERM
        assert outside.stderr is not None
        assert "SERVING" not in outside.stderr.read()


def test_the_orphans_of_an_alert_command_are_reaped(tmp_path: Path) -> None:
    """Process 1 is the parent of what its commands leave behind; and it ends with exit code 0."""
    done = tmp_path / "done"
    leave = f"(sleep 0.01; echo >> {shlex.quote(str(done))}) & exit 0"
    policies = minimal(
        tmp_path / "p", daily=limit("400", meter="tokens", extra="// alert_at: 50%\n")
    )
    arguments = (
        "serve", "--policies", policies, "--ledger", tmp_path / "ledger.sqlite",
        "--listen", "127.0.0.1:0", "--alert-command", shlex.join(["sh", "-c", leave]),
    )  # fmt: skip
    with process_one(*arguments) as outside:
        assert outside.stderr is not None
        line = next(line for line in outside.stderr if "SERVING on " in line)
        address = line.partition("SERVING on ")[2].partition(";")[0]
        (first,) = children(outside.pid)
        assert stub(address).Authorize(chat(tester(), model="small-1")).hold_id
        eventually(done.exists, 30)
        eventually(lambda: states(first) == ["S"])
        os.kill(first, signal.SIGTERM)
        assert outside.wait(30) == 0
