"""Processes of `python -m sidecar` made by fork, since a new start costs most of a second.

A server of forks loads every command once. A command is then a process of its own: with its own
arguments, environment, folder, standard streams and signals, it runs `sidecar/__main__.py` as
`-m` does, and ends as an interpreter ends. What it has before it begins is what is loaded
already: modules, and CEL's parser. So a test of loading, or of what an interpreter
reads at its start, has to start one: `support.commands.started`.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

TESTS = Path(__file__).parents[1]
CLIENT = TESTS.parent / "clients" / "python"
OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "GRPC_", "LD_")
"""What the variables begin with that are read before a command begins."""

LOADED_WHEN_NEEDED = (
    "sidecar.alerts.webhook", "sidecar.identity.certificates", "sidecar.identity.jwks",
    "sidecar.identity.proofs", "sidecar.identity.tokens", "sidecar.keys.rotator",
    "sidecar.keys.schedule", "sidecar.keys.sinks.factory", "sidecar.policy.trust.signatures",
    "sidecar.server.authzen.server", "sidecar.telemetry.metrics",
    "sidecar.telemetry.metrics_listener", "sidecar.web.tls",
    "anyio._backends._asyncio", "httpcore2._backends.anyio", "truststore",
    "typer._adapters",
)  # fmt: skip
"""What commands and their packages load within functions, except what is optional."""

EXPRESSION = '[a.b("c", -1 + 2 * 3 % 4), !true][0] == {"k": T{f: x < y && z || w in v}, "l": []}.k ? {} : .g()'
"""One of each kind: the parser makes what reads a kind of expression when it first needs it."""


class Forked:
    """A process of the command line, as subprocess.Popen shows one; its streams are text."""

    def __init__(
        self,
        arguments: list[str],
        *,
        env: Mapping[str, str],
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> None:
        """Start it. A stream is a pipe, a file's number, or None for our own."""
        self.args = arguments
        self.returncode: int | None = None
        ours: list[IO[str] | None] = []
        streams = [os.open(os.devnull, os.O_RDONLY)]
        for number, wanted in ((1, stdout), (2, stderr)):
            if wanted == subprocess.PIPE:
                end, other = os.pipe()
                ours.append(open(end, encoding="utf-8"))  # noqa: PTH123, SIM115 - a pipe
                streams.append(other)
            else:
                ours.append(None)
                streams.append(os.dup(number if wanted is None else wanted))
        self.stdout, self.stderr = ours
        self._line, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_server(), [b"\0"], [theirs.fileno(), *streams])
        for stream in streams:
            os.close(stream)
        order = {"arguments": arguments, "env": dict(env), "folder": os.getcwd()}  # noqa: PTH109
        self._line.sendall(json.dumps(order).encode() + b"\n")
        self._status = self._line.makefile()
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; the negative number of the signal that killed it."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
            self._status.close()
            self._line.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read the rest of its streams, and wait for its end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        output = ["", ""]

        def read(number: int, stream: IO[str]) -> None:
            with stream:
                output[number] = stream.read()

        pipes = [(n, pipe) for n, pipe in enumerate((self.stdout, self.stderr)) if pipe is not None]
        readers = [threading.Thread(target=read, args=one, daemon=True) for one in pipes]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        return output[0], output[1]

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def can_fork(env: Mapping[str, str]) -> bool:
    """Return whether a process with these changes of our environment can be a fork."""
    return not any(name.startswith(OF_THE_INTERPRETER) for name in env)


@functools.cache
def _server() -> socket.socket:
    """Start the server of this process's forks; it ends with us."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "support.forks", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=TESTS.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS, CLIENT)))},
        )

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def _serve(number: int) -> dict[str, Any]:
    """Fork for each command received; return the command in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted closes the line
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the keepers are not waited for
    orders = socket.socket(fileno=number)
    while True:
        _, handles, _, _ = socket.recv_fds(orders, 1, 4)
        if not handles:
            os._exit(0)
        if os.fork() == 0:
            orders.close()
            return _keep(*handles)
        for handle in handles:
            os.close(handle)


def _keep(line: int, *streams: int) -> dict[str, Any]:
    """Fork: the parent reports the exit status of the command; the child returns to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    orders = socket.socket(fileno=line)
    order: dict[str, Any] = json.loads(orders.makefile().readline())
    pid = os.fork()
    if pid == 0:
        orders.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        return order
    for handle in (0, 1, 2, *streams):
        os.close(handle)
    with contextlib.suppress(OSError):  # the client may be gone
        orders.sendall(b"%d\n" % pid)
        orders.sendall(b"%d\n" % os.waitpid(pid, 0)[1])
    os._exit(0)


def _become(order: dict[str, Any]) -> None:
    """Take over arguments, environment, folder and streams, as from a parent process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["folder"])  # noqa: TID251 - a process of its own
    sys.argv = ["sidecar", *order["arguments"]]
    sys.stdin = _stream(0, "r", sys.stdin)
    sys.stdout = _stream(1, "w", sys.stdout)
    sys.stderr = _stream(2, "w", sys.stderr, buffering=1)


def _stream(number: int, mode: str, like: Any, **more: Any) -> Any:
    """Return a standard stream, as an interpreter opens it."""
    return open(number, mode, encoding=like.encoding, errors=like.errors, closefd=False, **more)


def load_commands() -> None:
    """Load the modules of every command, also what it loads when it needs it, and the parser."""
    from sidecar.cli import main  # noqa: PLC0415 - in the server alone

    for places in (main.COMMANDS, main.OF_LEDGER, main.OF_KEYS, main.OF_FLEET):
        for place in places.values():
            import_module(f"sidecar.cli.{place.partition('.')[0]}")
    for name in LOADED_WHEN_NEEDED:
        import_module(name)
    with contextlib.suppress(ImportError):  # not on every machine
        import_module("sidecar.policy.cel.cel_cpp")
    import_module("sidecar.policy.cel.cel_python").CelPythonEngine().parse(EXPRESSION)


if __name__ == "__main__":
    import gc

    load_commands()
    gc.collect()
    gc.freeze()
    _become(_serve(int(sys.argv[1])))
    runpy.run_module("sidecar", run_name="__main__", alter_sys=True)
