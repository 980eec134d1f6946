"""A series of crashes on one ledger: serve, load, kill, compare, restart."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from support.sidecar_process import RunningSidecar

from crashes import books, calls
from crashes.books import OTHER, Fault
from crashes.clients import Crowd

KILLED_WITHIN_SECONDS = 0.8
REPEATED = 20
"""Answers of each round that are asked for once more."""


class Siege:
    """Kills a sidecar at moments drawn from a seed, and counts the kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Keep policies and ledger in this folder."""
        self._sidecar = RunningSidecar(calls.policies(folder / "policies"), folder / "l.sqlite")
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._runner = asyncio.Runner()
        self.crowd = Crowd()
        self.killed_starting = self.repeated = 0
        self.faults: list[Fault] = []

    def run(self, kills: int) -> Iterator[int]:
        """Kill the sidecar this many times, yielding the number of each; the last run is not killed.

        Stops early when something is wrong.
        """
        for kill in range(1, kills + 1):
            self._round(kill)
            yield kill
            if self.faults:
                return
        self._sidecar.restart()
        self._settle_the_books()
        self._verify_as_people_do()
        code = self._sidecar.stop()
        if code:
            self.faults.append(Fault(OTHER, f"exit code {code} after SIGTERM"))

    def _round(self, kill: int) -> None:
        if kill % 5 == 0:
            self._kill_while_it_starts()
        self._sidecar.restart()
        if kill % 4:  # else this kill strikes those who ask again after the last one, too
            self._settle_the_books()
        self._runner.run(self._load_and_kill())
        self.faults += books.verified(self._sidecar.ledger)

    async def _load_and_kill(self) -> None:
        killed = asyncio.Event()
        load = asyncio.create_task(self.crowd.load(self._sidecar.addresses[0], killed))
        await asyncio.sleep(self._random.uniform(0, KILLED_WITHIN_SECONDS))
        killed.set()
        self._sidecar.stop(signal.SIGKILL)
        await load

    def _kill_while_it_starts(self) -> None:
        """Kill during the recovery of the file, or the creation of its tables."""

        def kill() -> None:
            if self._sidecar.process is not None:
                self._sidecar.process.kill()

        self._sidecar.process = None
        timer = threading.Timer(self._random.uniform(0.1, 1.5), kill)
        timer.start()
        with suppress(AssertionError):  # it says that it did not start
            self._sidecar.restart()
        timer.join()
        self.killed_starting += 1
        self._sidecar.stop(signal.SIGKILL)

    def _settle_the_books(self) -> None:
        """Repeat requests without a response, and some with one, and compare."""
        answered = [call for call in self.crowd.calls if call.finished]
        repeat = self._random.sample(answered, min(REPEATED, len(answered)))
        self.repeated += len(repeat)
        self._runner.run(self.crowd.finish(self._sidecar.addresses[0], repeat))
        self.faults += self.crowd.faults
        if not self.faults:
            self.faults += books.compared(self.crowd.calls, self._sidecar.ledger)

    def _verify_as_people_do(self) -> None:
        command = [sys.executable, "-m", "sidecar", "ledger", "verify", "--ledger"]
        done = subprocess.run(  # noqa: S603
            [*command, self._sidecar.ledger], capture_output=True, text=True, check=False
        )
        if done.returncode or "clean" not in done.stdout:
            self.faults.append(Fault(OTHER, done.stdout + done.stderr))

    def close(self) -> None:
        """End the sidecar's process."""
        self._runner.close()
        if self._sidecar.process is not None and self._sidecar.process.returncode is None:
            self._sidecar.stop(signal.SIGKILL)
