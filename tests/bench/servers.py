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

from support.policies import deny, shipped
from support.sidecar_process import chat

from sidecar.server.service import SERVICE

TICKS = os.sysconf("SC_CLK_TCK")
STARTS, STARTS_SECONDS = 3, 10
"""How often a server is started, and after how long not again."""

START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Call:
    """A unary RPC that h2load repeats."""

    path: str
    message: bytes


AUTHORIZE = Call(f"/{SERVICE}/Authorize", chat().SerializeToString())
"""Without a request_id: each call is a new one."""


class Server:
    """A server process that is measured."""

    def __init__(
        self, name: str, command: Sequence[str], call: Call = AUTHORIZE, address: str = ""
    ) -> None:
        """Start it, and wait until it serves at the address, or at the one in its log.

        It is started a few times, since the machine may be busy once.
        """
        self.name, self.call, self.address = name, call, address
        self._command, self._says_where = command, not address
        starts = [self._start()]
        while len(starts) < STARTS and sum(starts) < STARTS_SECONDS:
            self.stop()
            starts.append(self._start())
        self.start_seconds = statistics.median(starts)
        self.idle_mb = self.resident_mb()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0

    def stop(self) -> None:
        """Stop it, and wait until it has."""
        self._process.terminate()
        self._process.communicate()

    def _start(self) -> float:
        """Start it; return the seconds until it served."""
        started = time.monotonic()
        where = subprocess.PIPE if self._says_where else subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            self._command, stdout=subprocess.DEVNULL, stderr=where, text=True
        )
        if self._process.stderr is None:
            _wait_for(self.address)
        else:
            line = next(line for line in self._process.stderr if "SERVING on" in line)
            self.address = line.partition("SERVING on ")[2].partition(";")[0]
        return time.monotonic() - started


def empty() -> Server:
    """Start a server of the same kind whose handlers do nothing."""
    handler = Path(__file__).with_name("empty_handler.py")
    return Server("empty handler", [sys.executable, str(handler)])


def sidecar(
    name: str,
    folder: Path,
    more_rules: int = 0,
    ledger: Path | None = None,
    args: Sequence[str] = (),
) -> Server:
    """Start a sidecar with the shipped rules, and more that read the request.

    The default ledger is ledger.sqlite in the folder.
    """
    folder.mkdir(exist_ok=True)
    policies = roomy(folder / "policies")
    for number in range(more_rules):
        rule = deny(f"request.tokens > {10**9 + number} && request.batch")
        (policies / f"more-{number}.cel").write_text(rule)
    return Server(name, [
        sys.executable, "-m", "sidecar", "serve", "--policies", str(policies),
        "--ledger", str(ledger or folder / "ledger.sqlite"), "--listen", "127.0.0.1:0",
        *args,
    ])  # fmt: skip


def roomy(directory: Path) -> Path:
    """Return the shipped policies, with ceilings above the load."""
    shipped(directory)
    for file, old, new in (
        ("workspaces.yaml", "requests_per_minute: 60", "requests_per_minute: 100_000_000"),
        ("workspaces.yaml", "monthly_budget_usd: 50", "monthly_budget_usd: 100_000_000"),
        ("roles.yaml", "daily_token_budget: 500000", "daily_token_budget: 100000000000"),
        ("hourly-spending-guard.cel", "\n10.0", "\n100000000.0"),
    ):
        text = (directory / file).read_text()
        assert old in text, (file, old)
        (directory / file).write_text(text.replace(old, new, 1))
    return directory


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
