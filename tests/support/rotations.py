"""Rotations of a key in this process, with a real HTTP server and real files."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from sidecar.domain.clock import SECOND_US
from sidecar.domain.rotation import KeyRotation
from sidecar.keys.api_variants import MistralSettings
from sidecar.keys.mistral import Mistral
from sidecar.keys.other_sidecars import NoOtherSidecars, OtherSidecars
from sidecar.keys.pepper import Pepper
from sidecar.keys.rotator import Rotator
from sidecar.keys.secret import Secret
from sidecar.keys.settings import NewKeySpec, Timings
from sidecar.keys.sinks.file import FileSink
from sidecar.keys.sinks.sink import Sink
from sidecar.ledger.key_store import KeyStore
from support.mistral_admin import ADMIN_KEY, Key, MistralAdmin

T = TypeVar("T")

KEY = "dev-team-key"
HOUR_US = 3600 * SECOND_US

QUICK = Timings(
    propagation_seconds=0.0, verify_seconds=1.0, consistency_seconds=0.3, poll_interval_seconds=0.02,
    lease_seconds=30.0, grace_after_use_seconds=3600.0, grace_at_most_seconds=86_400.0,
)  # fmt: skip


class RotationHarness:
    """One sidecar: its ledger, the sink, and a clock that the test sets."""

    sink: Sink

    def __init__(self, folder: Path, server: MistralAdmin, name: str = "sidecar") -> None:
        """Use a ledger of its own."""
        self.server, self.folder, self.name = server, folder, name
        self.sink = FileSink(folder / "key.json")
        self.pepper = Pepper(b"a pepper of 16 bytes")
        self.timings, self.new_key = QUICK, NewKeySpec()
        self.others: OtherSidecars = NoOtherSidecars()
        self.ahead_us = 0
        self.steps: list[str] = []
        self.at: Callable[[KeyRotation], None] = lambda _: None
        """Is called at each stage."""
        self.key_store = self.open_key_store(name)

    def open_key_store(self, owner: str) -> KeyStore:
        """Open the ledger."""
        lease_us = round(self.timings.lease_seconds * SECOND_US)
        return KeyStore(self.folder / f"{self.name}.sqlite", self.now_us, owner, lease_us)

    def now_us(self) -> int:
        """The clock's time."""
        return time.time_ns() // 1000 + self.ahead_us

    def run(self, work: Callable[[Rotator], Coroutine[Any, Any, T]]) -> T:
        """Run the work of one command."""

        async def with_client() -> T:
            client = Mistral(MistralSettings(self.server.url), Secret(ADMIN_KEY))
            try:
                rotator = Rotator(
                    self.key_store,
                    client,
                    self.sink,
                    self.pepper,
                    self.now_us,
                    self,
                    self.timings,
                    self.new_key,
                    self.others,
                )
                return await work(rotator)
            finally:
                await client.close()

        return asyncio.run(with_client())

    def rotate(self, *, waits: bool = False, force: bool = False) -> KeyRotation:
        """Rotate the key until its grace period."""
        return self.run(lambda rotator: rotator.rotate(KEY, waits=waits, force=force))

    def reached(self, rotation: KeyRotation, note: str) -> None:
        """See Watcher.reached."""
        self.steps.append(
            f"#{rotation.to_version} {rotation.stage}" + (f": {note}" if note else "")
        )
        self.at(rotation)

    def waits(self, rotation: KeyRotation, why: str, until_us: int | None) -> None:
        """See Watcher.waits."""

    def put(self, key: Key) -> None:
        """Write the secret of a key into the sink, as a person does at first."""
        document = {"key_id": f"{KEY}#1", "api_key": key.secret}
        (self.folder / "key.json").write_text(json.dumps(document))

    @property
    def app(self) -> Key | None:
        """The key that the app uses, if it works."""
        held = json.loads((self.folder / "key.json").read_text())
        return self.server.by_secret(held["api_key"])

    @property
    def states(self) -> dict[int, str]:
        """The state of each version, in the ledger."""
        return {one.version: str(one.state) for one in self.key_store.versions(KEY)}

    def close(self) -> None:
        """Close the ledger."""
        self.key_store.close()
