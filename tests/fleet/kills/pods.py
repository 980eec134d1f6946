"""A sidecar of the fleet that is killed, with or without its ledger, and frozen."""

import asyncio
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fleet.kills.calls import CallMaker
from fleet.kills.checks import lost_answers
from fleet.kills.clients import Clients
from support.sidecar_process import RunningSidecar

FREEZE_SECONDS = (0.5, 4.0)
DOWN_SECONDS = (0.0, 1.5)
LOST_PART, FREEZE_PART = 0.35, 0.15
"""So many kills take the ledger with them; so many lives have a freeze in them."""


@dataclass
class Fates:
    """What happens to sidecars, and how often it has."""

    random: Random
    wanted: int
    """Kills."""
    life_seconds: tuple[float, float]
    begun: int = 0
    """Lives that end with a kill."""
    kills: int = 0
    lost: int = 0
    freezes: int = 0

    def begin_life(self) -> bool:
        """Begin one more life that ends with a kill, if another is wanted."""
        is_wanted = self.begun < self.wanted
        self.begun += is_wanted
        return is_wanted


@dataclass
class Pod:
    """A place of a sidecar, with one ledger after the other."""

    name: str
    policies: Path
    folder: Path
    arguments: tuple[str, ...]
    fates: Fates
    maker: CallMaker
    ended: list[Clients] = field(default_factory=list)
    """The clients of ledgers that were lost."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with an empty ledger."""
        self._take_new_ledger()

    async def live(self) -> None:
        """Start, serve and be killed again and again, until all kills were made; then serve."""
        while self.fates.begin_life():
            await self._serve_until_killed()
        await asyncio.to_thread(self._sidecar.restart)

    async def serve(self, ended: asyncio.Event) -> None:
        """Serve without a kill until the end, and settle what is open."""
        address = self._sidecar.addresses[0]
        await self.clients.load(address, ended)
        await self.clients.settle_rest(address)

    def stop(self) -> None:
        """End it as an orchestrator does, and check its ledger."""
        code = self._sidecar.stop()
        if code:
            self.faults.append(f"{self.name}: exit code {code} after SIGTERM")
        self._check_ledger()

    def end(self) -> None:
        """End its process in any case."""
        if self._sidecar.process is not None and self._sidecar.process.poll() is None:
            self._sidecar.process.send_signal(signal.SIGCONT)
            self._sidecar.stop(signal.SIGKILL)

    def all_clients(self) -> list[Clients]:
        """Return the clients of all its ledgers."""
        return [*self.ended, self.clients]

    async def _serve_until_killed(self) -> None:
        random, killed = self.fates.random, asyncio.Event()
        await asyncio.to_thread(self._sidecar.restart)
        load = asyncio.create_task(self.clients.load(self._sidecar.addresses[0], killed))
        await asyncio.sleep(random.uniform(*self.fates.life_seconds))
        if random.random() < FREEZE_PART:
            await self._freeze()
        killed.set()
        await asyncio.to_thread(self._sidecar.stop, signal.SIGKILL)
        await load
        self.fates.kills += 1
        await asyncio.to_thread(self._check_ledger)
        if random.random() < LOST_PART:
            self._lose()
        await asyncio.sleep(random.uniform(*DOWN_SECONDS))

    async def _freeze(self) -> None:
        """Let it stand still, also in the middle of an exchange."""
        process = self._sidecar.process
        assert process is not None
        self.fates.freezes += 1
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.fates.random.uniform(*FREEZE_SECONDS))
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(self.fates.random.uniform(0, 1))

    def _lose(self) -> None:
        """Lose the ledger, as a pod without a disk of its own does."""
        self.fates.lost += 1
        self.clients.lose()
        self.ended.append(self.clients)
        shutil.rmtree(self._sidecar.ledger.parent)
        self._take_new_ledger()

    def _take_new_ledger(self) -> None:
        self.clients = Clients(self.maker, self.fates.random)
        folder = self.folder / f"{self.name}-{len(self.ended)}"
        folder.mkdir()
        self._sidecar = RunningSidecar(self.policies, folder / "ledger.sqlite", self.arguments)

    def _check_ledger(self) -> None:
        self.faults += lost_answers(self.clients.calls, self._sidecar.ledger)
