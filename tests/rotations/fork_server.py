"""A server that forks a process for each command, which can crash at a given point.

The server imports everything once. A crash is a `kill -9` of the process by itself, before or after
its n-th transaction or rename. The code of `sidecar` is unchanged.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.forks import load_commands

TESTS = Path(__file__).parents[1]


class CrashPoint(NamedTuple):
    """A point at which a process crashes: before or after the n-th action of one kind."""

    kind: str
    """`write …` (a transaction of the ledger), `rename` (of the sink's file), or a request's kind."""
    when: str
    """Either "before" or "after"."""
    number: int

    def __str__(self) -> str:
        """Return a text for people."""
        return f"{self.when} {self.kind}" + (f" {self.number}" if self.number > 1 else "")


class ForkServer:
    """Forks a process for each command. Belongs to one thread."""

    def __init__(self) -> None:
        """Start the server, which imports everything."""
        path = os.pathsep.join((str(TESTS.parent), str(TESTS)))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "rotations.fork_server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "140", "NO_COLOR": "1"},
        )  # fmt: skip
        self.pid = 0

    def run(self, arguments: list[str], log: Path, crash_point: CrashPoint | None = None) -> int:
        """Run `sidecar` with its output in the log; return the exit code.

        For a process that was killed it is the negative number of the signal.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([arguments, str(log), crash_point]) + "\n")
        self._server.stdin.flush()
        self.pid = int(self._server.stdout.readline())
        return os.waitstatus_to_exitcode(int(self._server.stdout.readline()))

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=10)  # closes both pipes


def _count(crash_point: CrashPoint | None, counts: Path) -> Callable[[str, str], None]:
    """Return a function that counts the actions of each kind, and crashes at the given point."""
    seen: dict[str, int] = {}

    def at(kind: str, when: str) -> None:
        if when == "before":
            seen[kind] = seen.get(kind, 0) + 1
            counts.write_text(json.dumps(seen))
        if crash_point is not None and crash_point == (kind, when, seen[kind]):
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def _command(arguments: list[str], log: Path, crash_point: CrashPoint | None) -> None:
    """Run the command, in a process that was just forked."""
    from sidecar.cli.entry import main  # noqa: PLC0415 - imported by the parent
    from sidecar.ledger.key_store import KeyStore  # noqa: PLC0415

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((null, handle, handle)):
        os.dup2(target, number)
    at = _count(crash_point, log.with_suffix(".counts"))
    writing, replace = KeyStore._writing, Path.replace  # noqa: SLF001 - every write uses it

    @contextmanager
    def crashing(key_store: KeyStore) -> Iterator[None]:
        caller = sys._getframe(2)  # noqa: SLF001 - the caller of the context manager
        kind = f"write {caller.f_locals.get('stage', caller.f_code.co_name)}"
        timed = caller.f_code.co_name == "renew"  # how often it runs depends on the load
        with writing(key_store):
            yield
            if not timed:
                at(kind, "before")
        if not timed:
            at(kind, "after")

    def replacing(path: Path, target: Any) -> Path:
        at("rename", "before")
        replaced = replace(path, target)
        at("rename", "after")
        return replaced

    KeyStore._writing = crashing  # type: ignore[method-assign, assignment] # noqa: SLF001
    Path.replace = replacing  # type: ignore[method-assign, assignment]
    sys.argv = ["sidecar", *arguments]
    main()


def main() -> None:
    """Fork a process for each line of input."""
    load_commands()
    for line in sys.stdin:
        arguments, log, crash_point = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _command(arguments, Path(log), CrashPoint(*crash_point) if crash_point else None)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
