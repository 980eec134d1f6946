"""A key at a stand-in for Mistral, an app that reads its secret from a file, and its rotation."""

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

from rotations.nursery import Death, Nursery

KEY = "dev-team-key"
PACE = (
    "--propagation-seconds", "0.02", "--consistency-seconds", "0.2", "--look-seconds", "0.05",
    "--grace-after-use-seconds", "0", "--grace-at-most-seconds", "0", "--lease-seconds", "0.2",
)  # fmt: skip
TRIES = 60


class World:
    """One key that is rotated, and everything that must hold at every moment."""

    def __init__(self, folder: Path, server: MistralAdmin, nursery: Nursery) -> None:
        """Make the key; its secret is where the app reads it."""
        self.folder, self.server, self._nursery = folder, server, nursery
        self.sink, self.ledger, self.log = folder / "k.json", folder / "l.sqlite", folder / "log"
        self.faults: list[str] = []
        (folder / "admin.key").write_text(ADMIN_KEY)
        (folder / "pepper").write_text("a pepper of 16 bytes")
        first = server.has(KEY)
        self.sink.write_text(json.dumps({"key_id": f"{KEY}#1", "api_key": first.secret}))
        server.changed = self._look

    def sidecar(self, command: str, *more: str, death: Death | None = None) -> int:
        """Run a command of `sidecar keys`, which may crash; return its exit code."""
        self.server.seen.clear()

        def when(kind: str, at: str, number: int) -> None:
            if death == (kind, at, number):
                os.kill(self._nursery.pid, signal.SIGKILL)
                if at == "before":  # and so it never came
                    raise ConnectionAbortedError

        self.server.when = when
        arguments = [
            "keys", command, KEY, "--ledger", str(self.ledger), "--mistral-url", self.server.url,
            "--mistral-admin-key-file", str(self.folder / "admin.key"),
            "--key-pepper-file", str(self.folder / "pepper"), "--key-sink", f"file:{self.sink}", *PACE, *more,
        ]  # fmt: skip
        code = self._nursery.run(arguments, self.log, death)
        self.server.when = lambda *_: None
        self._look()
        return code

    def until_done(self, command: str = "rotate") -> int:
        """Run a command again until its lease is free and it has ended; return how often."""
        for number in range(1, TRIES):
            code = self.sidecar(command)
            if code == 0:
                return number
            if "is rotating it" not in self.log.read_text().splitlines()[-1]:
                command = "rotate"  # it cannot be rolled back any more
            time.sleep(0.1)
        raise AssertionError(f"it does not end:\n{self.log.read_text()}")

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
    def held(self) -> str:
        """The secret that the app finds."""
        return str(json.loads(self.sink.read_text())["api_key"])

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Query the ledger."""
        if not self.ledger.exists():
            return []
        with closing(sqlite3.connect(self.ledger)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query)]
            except sqlite3.OperationalError:  # it died before there were tables
                return []

    def check_end(self) -> None:
        """At the end one key lives, apps find it, and the ledger says so; nothing else is left."""
        live, held = self.server.live, self.server.by_secret(self.held)
        if held is None or [key.id for key in live] != [held.id]:
            self.faults.append(f"at the end {[key.name for key in live]} live")
            return
        states = Counter(row["state"] for row in self.rows("SELECT state FROM key_versions"))
        active = self.rows("SELECT * FROM key_versions WHERE state = 'active'")
        if states["pending"] or states["grace"] or len(active) != 1:
            self.faults.append(f"at the end the ledger has {dict(states)}")
        elif active[0]["remote_id"] != held.id:
            self.faults.append(f"the ledger takes {active[0]['name']} for active, not {held.name}")
        made = {key.id for key in self.server.keys.values()}
        known = {row["remote_id"] for row in self.rows("SELECT remote_id FROM key_versions")}
        noted = "".join(row["note"] for row in self.rows("SELECT note FROM key_rotation_steps"))
        self.faults += [f"{one} is recorded nowhere" for one in made - known if one not in noted]
        left = {path.name for path in self.folder.iterdir()}
        self.faults += [f"{name} is left" for name in left if "previous" in name or "new" in name]
        self.faults += self.leaks()

    def leaks(self) -> list[str]:
        """Return every file, but the sink and the admin key's own, that has a secret in it."""
        own = {self.sink, self.folder / "admin.key"}
        return [
            f"a secret is in {path.name}"
            for path in self.folder.iterdir()
            if path not in own
            and any(secret.encode() in path.read_bytes() for secret in self.server.secrets)
        ]

    def _look(self) -> None:
        """Check that the app's key works, and that at most one more exists."""
        if self.server.by_secret(self.held) is None:
            self.faults.append("the app's key does not work")
        if len(self.server.live) > 2:
            self.faults.append(f"{len(self.server.live)} keys live")
