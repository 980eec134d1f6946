"""The world of one rotation: a stand-in for Mistral, a ledger, and an app that reads a file."""

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from support.mistral_admin import ADMIN_KEY, MistralAdmin

from rotations.fork_server import CrashPoint, ForkServer

KEY = "dev-team-key"
SHORT_TIMINGS = (
    "--propagation-seconds", "0.02", "--consistency-seconds", "0.2", "--look-seconds", "0.05",
    "--grace-after-use-seconds", "0", "--grace-at-most-seconds", "0", "--lease-seconds", "0.2",
)  # fmt: skip
MAX_RUNS = 60


class World:
    """One key that is rotated, with checks of what must be true at every moment."""

    def __init__(self, folder: Path, server: MistralAdmin, fork_server: ForkServer) -> None:
        """Create the key, and write its secret to the app's file."""
        self.folder, self.server, self._nursery = folder, server, fork_server
        self.sink, self.ledger, self.log = folder / "k.json", folder / "l.sqlite", folder / "log"
        self.faults: list[str] = []
        (folder / "admin.key").write_text(ADMIN_KEY)
        (folder / "pepper").write_text("a pepper of 16 bytes")
        first = server.has(KEY)
        self.sink.write_text(json.dumps({"key_id": f"{KEY}#1", "api_key": first.secret}))
        server.changed = self._check_now

    def sidecar(self, command: str, *more: str, crash_point: CrashPoint | None = None) -> int:
        """Run a command of `sidecar keys`, which may crash; return its exit code."""
        self.server.seen.clear()

        def when(kind: str, at: str, number: int) -> None:
            if crash_point == (kind, at, number):
                os.kill(self._nursery.pid, signal.SIGKILL)
                if at == "before":  # the request did not arrive
                    raise ConnectionAbortedError

        self.server.when = when
        arguments = [
            "keys", command, KEY, "--ledger", str(self.ledger), "--mistral-url", self.server.url,
            "--mistral-admin-key-file", str(self.folder / "admin.key"),
            "--key-pepper-file", str(self.folder / "pepper"), "--key-sink", f"file:{self.sink}", *SHORT_TIMINGS, *more,
        ]  # fmt: skip
        code = self._nursery.run(arguments, self.log, crash_point)
        self.server.when = lambda *_: None
        self._check_now()
        return code

    def until_done(self, command: str = "rotate") -> int:
        """Run a command until the lease is free and the rotation has ended; return the number of runs."""
        for number in range(1, MAX_RUNS):
            code = self.sidecar(command)
            if code == 0:
                return number
            if "is rotating it" not in self.log.read_text().splitlines()[-1]:
                command = "rotate"  # it can no longer be rolled back
            time.sleep(0.1)
        raise AssertionError(f"the rotation does not end:\n{self.log.read_text()}")

    @property
    def counts(self) -> Counter[str]:
        """The number of commits, renames and requests of the last command."""
        own = json.loads(self.log.with_suffix(".counts").read_text())
        return Counter(own) + self.server.seen

    @property
    def stage(self) -> str:
        """The rotation's stage in the ledger."""
        found = self.rows("SELECT stage, to_version FROM key_rotations ORDER BY id DESC LIMIT 1")
        return f"#{found[0]['to_version']} {found[0]['stage']}" if found else "not begun"

    @property
    def secret(self) -> str:
        """The secret in the app's file."""
        return str(json.loads(self.sink.read_text())["api_key"])

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Query the ledger."""
        if not self.ledger.exists():
            return []
        with closing(sqlite3.connect(self.ledger)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query)]
            except sqlite3.OperationalError:  # it crashed before it created the tables
                return []

    def check_end(self) -> None:
        """Check that one key lives, apps find it, the ledger says so, and nothing else remains."""
        live, app_key = self.server.live, self.server.by_secret(self.secret)
        if app_key is None or [key.id for key in live] != [app_key.id]:
            self.faults.append(f"at the end {[key.name for key in live]} live")
            return
        states = Counter(row["state"] for row in self.rows("SELECT state FROM key_versions"))
        active = self.rows("SELECT * FROM key_versions WHERE state = 'active'")
        if states["pending"] or states["grace"] or len(active) != 1:
            self.faults.append(f"at the end the ledger has {dict(states)}")
        elif active[0]["remote_id"] != app_key.id:
            self.faults.append(f"the ledger has {active[0]['name']} as active, not {app_key.name}")
        made = {key.id for key in self.server.keys.values()}
        known = {row["remote_id"] for row in self.rows("SELECT remote_id FROM key_versions")}
        noted = "".join(row["note"] for row in self.rows("SELECT note FROM key_rotation_steps"))
        self.faults += [f"{one} is recorded nowhere" for one in made - known if one not in noted]
        left = {path.name for path in self.folder.iterdir()}
        self.faults += [f"{name} is left" for name in left if "previous" in name or "new" in name]
        self.faults += self.leaks()

    def leaks(self) -> list[str]:
        """Return the files that contain a secret, except the sink and the admin key's file."""
        own = {self.sink, self.folder / "admin.key"}
        return [
            f"a secret is in {path.name}"
            for path in self.folder.iterdir()
            if path not in own
            and any(secret.encode() in path.read_bytes() for secret in self.server.secrets)
        ]

    def _check_now(self) -> None:
        """Check that the app's key works, and that at most one more exists."""
        if self.server.by_secret(self.secret) is None:
            self.faults.append("the app's key does not work")
        if len(self.server.live) > 2:
            self.faults.append(f"{len(self.server.live)} keys live")
