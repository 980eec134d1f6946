"""The server processes of the benchmark: their start, and the resources they use."""

import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.sidecar_process import chat
from support.tools import ROOT

from sidecar.server.service import SERVICE

STARTS, STARTS_SECONDS = 3, 10
"""How often a server is started, and after how long not again."""

START_SECONDS = 30


class StartError(Exception):
    """A server did not start; the text has its name and the end of its log."""


@dataclass(frozen=True, slots=True)
class Call:
    """The RPC that is measured."""

    path: str
    message: bytes


AUTHORIZE = Call(f"/{SERVICE}/Authorize", chat().SerializeToString())
"""Without a request_id: each call is a new one."""


class Server:
    """A server that is measured: a process, and the processes that it starts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        call: Call = AUTHORIZE,
        address: str = "",
        root: Path = ROOT,
        starts: int | None = None,
    ) -> None:
        """Start it, and wait until it serves at the address, or at the one in its log.

        Python code is that of the project's checkout in `root`. The server is started a few times,
        or `starts` times, since the machine may be busy once. Raises StartError.
        """
        self.name, self.call, self.address = name, call, address
        self._command, self._says_where, self._root = command, not address, root
        took = [self._start()]
        while len(took) < (starts or STARTS) and sum(took) < STARTS_SECONDS:
            self.stop()
            took.append(self._start())
        self.start_seconds = statistics.median(took)
        self.idle_mb = self.resident_mb()

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def pids(self) -> list[int]:
        """Return its process, and those that it started."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        children = [pid for it in threads for pid in (it / "children").read_text().split()]
        return [self.pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its processes."""
        # The clock of another process's CPU time, as clock_getcpuclockid(3) makes it on Linux. Its
        # unit is a nanosecond; /proc/PID/stat has hundredths of a second.
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def resident_mb(self) -> float:
        """Resident memory now, of all its processes."""
        found = 0.0
        for pid in self.pids():
            rss = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            found += int(rss[1]) / 1024 if rss else 0
        return found

    def stop(self) -> None:
        """Stop it, and wait until it has."""
        self._process.terminate()
        self._process.communicate()

    def _start(self) -> float:
        """Start it; return the seconds until it served."""
        started = time.monotonic()
        where = subprocess.PIPE if self._says_where else subprocess.DEVNULL
        folders = (self._root, self._root / "clients" / "python", ROOT / "tests")
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            self._command, stdout=subprocess.DEVNULL, stderr=where, text=True, cwd=self._root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        )  # fmt: skip
        if self._process.stderr is None:
            _wait_for(self.address)
            return time.monotonic() - started
        log: list[str] = []
        for line in self._process.stderr:
            if "SERVING on " in line:
                self.address = line.partition("SERVING on ")[2].partition(";")[0]
                return time.monotonic() - started
            log.append(line)
        self._process.communicate()
        raise StartError(f"{self.name} did not start: {''.join(log[-5:]).strip()}")


def empty() -> Server:
    """Start a server of the same kind whose handlers do nothing."""
    handler = Path(__file__).with_name("empty_handler.py")
    return Server("empty handler", [sys.executable, str(handler)])


@contextmanager
def stopped_at_end() -> Iterator[list[Server]]:
    """Yield a list; at the end stop the servers in it."""
    servers: list[Server] = []
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()


def free_address() -> str:
    """Return a free address, for a server that cannot choose one itself."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{trial.getsockname()[1]}"


def _wait_for(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            assert time.monotonic() < deadline, f"no process listens on {address}"
            time.sleep(0.005)
        else:
            return
