"""A real PostgreSQL server in a folder of its own, from Debian's binaries, and a pooler before it.

As root both run as the user `postgres`, since they refuse to run as root.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
from support.tools import PROGRAMS, MissingError, require

OWNER, POD, PASSWORD = "owner", "pod", "s3cret/@:%tr1cky"
WRITTEN_PASSWORD = "s3cret%2F%40%3A%25tr1cky"  # noqa: S105 - of a server in a temporary folder
FIRST_TIMELINE = 5

_OPTIONS = {
    "fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "60",
    "listen_addresses": "127.0.0.1", "timezone": "UTC", "log_min_messages": "log",
}  # fmt: skip

_WHO_MAY = f"""
local all,replication {OWNER} trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresServer:
    """A server whose files are not flushed, without options: it outlives kill -9, no power loss."""

    def __init__(
        self,
        timeline: int = FIRST_TIMELINE,
        parent: Path | None = None,
        options: Mapping[str, str] = MappingProxyType({}),
        *,
        copy_of: "PostgresServer | None" = None,
        follows: bool = False,
    ) -> None:
        """Make the server's files in a new folder, and start it. Raises MissingError.

        A copy of another has its files as of now: as a replica that follows it, or as a backup,
        which is not started.
        """
        self.binaries = _binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="books-", dir=parent))
        self.port = _free_port()
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        try:
            _give_to_postgres(self.folder)
            if copy_of is None:
                self._make(timeline, options)
            else:
                self._copy(copy_of, follows=follows)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _make(self, timeline: int, options: Mapping[str, str]) -> None:
        self._run("initdb", "-D", self.data, "-U", OWNER, "-E", "UTF8", "--locale=C",
                  "--no-sync", "--no-instructions", "-A", "trust")  # fmt: skip
        self._run("pg_resetwal", "-f", "-l", f"{timeline:08X}0000000000000001", self.data)
        (self.data / "pg_hba.conf").write_text(_WHO_MAY)
        history = self.data / "pg_wal" / f"{timeline:08X}.history"  # copies ask for it
        history.write_text("# begins here\n")
        _give_to_postgres(history)
        self.start(**options)
        self.execute(
            f"CREATE ROLE {POD} LOGIN PASSWORD '{PASSWORD}'",
            f"ALTER ROLE {OWNER} PASSWORD '{PASSWORD}'",
        )

    def _copy(self, other: "PostgresServer", *, follows: bool) -> None:
        self._run("pg_basebackup", "-h", other.folder, "-p", str(other.port), "-U", OWNER,
                  "-D", self.data, "-c", "fast", "--no-sync", *(["-R"] if follows else []))  # fmt: skip
        if follows:
            self.start()

    def stop_following(self) -> None:
        """Be cut off from the server that it is a replica of."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Take over from the server that it is a replica of."""
        self._run("pg_ctl", "promote", "-D", self.data, "-w")

    def start(self, **options: str) -> None:
        """Start it, and wait until it answers."""
        settings = {**_OPTIONS, **options, "unix_socket_directories": str(self.folder)}
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        program, port = str(self.binaries / "postgres"), str(self.port)
        command = [program, "-D", str(self.data), "-p", port, *flags]
        self.process = start_as_postgres(command, self.folder / "log")
        self._run("pg_isready", "-h", self.folder, "-p", str(self.port), wait_seconds=20)

    def stop(self, mode: str = "fast") -> None:
        """Stop it, if it runs, and end its sessions; `immediate` is a crash."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self._run("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w")
        self.process.wait(20)

    def remove(self) -> None:
        """Stop it, and remove its files."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = POD, *, tcp: bool = False) -> str:
        """Return the URL of a database, on the socket or on the loopback."""
        login = f"postgresql://{user}:{WRITTEN_PASSWORD}@"
        if tcp:
            return f"{login}127.0.0.1:{self.port}/{database}"
        return f"{login}:{self.port}/{database}?host={self.folder}"

    async def connect(self, database: str = "postgres") -> Any:
        """Connect as the owner."""
        return await asyncpg.connect(
            host=str(self.folder), port=self.port, user=OWNER, database=database
        )

    def own(self, path: Path) -> None:
        """Let a file be the server's."""
        _give_to_postgres(path)

    def execute(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements as the owner; return the rows of the last."""

        async def run() -> list[Any]:
            connection = await self.connect(database)
            rows: list[Any] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            await connection.close()
            return rows

        return asyncio.run(run())

    def _run(self, program: str, *arguments: str | Path, wait_seconds: float = 0) -> None:
        """Run one of the server's programs; again until it succeeds, for so long."""
        until = time.monotonic() + wait_seconds
        command = as_postgres([self.binaries / program, *arguments])
        while True:
            done = subprocess.run(  # noqa: S603 - ours
                command, capture_output=True, text=True, check=False, cwd="/"
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < until, (command, done.stdout, done.stderr)
            time.sleep(0.05)


class Pooler:
    """PgBouncer in transaction mode before a server: each transaction may have another session."""

    def __init__(self, server: PostgresServer) -> None:
        """Start it. Raises MissingError."""
        program = require("pgbouncer")
        self._folder = Path(tempfile.mkdtemp(prefix="pooler-"))
        self.port = _free_port()
        users = self._folder / "users"
        users.write_text(f'"{POD}" "{PASSWORD}"\n')
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server.folder} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n"
            "pool_mode = transaction\ndefault_pool_size = 3\nserver_login_retry = 1\n"
        )
        for path in (self._folder, users, settings):
            _give_to_postgres(path)
        self.process = start_as_postgres([program, settings], self._folder / "log")
        until = time.monotonic() + 20
        while not _answers(self.port):
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.02)

    def url(self, database: str) -> str:
        """Return the URL of a database behind it."""
        return f"postgresql://{POD}:{WRITTEN_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        """Stop it, and remove its files."""
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)


def as_postgres(command: Sequence[str | Path]) -> list[str]:
    """Return the command that runs another as the user `postgres`, if this is root."""
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    return [require("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups", *words]


def start_as_postgres(command: Sequence[str | Path], log: Path) -> "subprocess.Popen[bytes]":
    """Start a program whose output goes to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ours
            as_postgres(command), stdout=output, stderr=output, cwd="/"
        )


def _binaries() -> Path:
    """Return the folder of the newest server's programs. Raises MissingError."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if not found:
        raise MissingError(f"postgres ({PROGRAMS['postgres']})")
    return found[-1].parent


def _give_to_postgres(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, "postgres")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
