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

from crashes import calls, comparison
from crashes.clients import Clients
from crashes.comparison import OTHER, Fault

KILLED_WITHIN_SECONDS = 0.8
MAX_REPEATED = 20
"""The answered calls that each round repeats."""


class CrashRun:
    """Kills a sidecar at random moments, repeatedly, and compares its ledger with the responses."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Keep policies and ledger in this folder."""
        self._sidecar = RunningSidecar(calls.policies(folder / "policies"), folder / "l.sqlite")
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._runner = asyncio.Runner()
        self.clients = Clients()
        self.killed_starting = self.repeated = 0
        self.faults: list[Fault] = []

    def run(self, kills: int) -> Iterator[int]:
        """Kill the sidecar this many times; yield the number of each kill.

        Then it runs once more without a kill. Stops at the first fault.
        """
        for kill in range(1, kills + 1):
            self._round(kill)
            yield kill
            if self.faults:
                return
        self._sidecar.restart()
        self._repeat_and_compare()
        self._verify_by_command()
        code = self._sidecar.stop()
        if code:
            self.faults.append(Fault(OTHER, f"exit code {code} after SIGTERM"))

    def _round(self, kill: int) -> None:
        if kill % 5 == 0:
            self._kill_while_it_starts()
        self._sidecar.restart()
        if kill % 4:  # else the next kill also hits the repeats after this one
            self._repeat_and_compare()
        self._runner.run(self._load_and_kill())
        self.faults += comparison.verified(self._sidecar.ledger)

    async def _load_and_kill(self) -> None:
        killed = asyncio.Event()
        load = asyncio.create_task(self.clients.load(self._sidecar.addresses[0], killed))
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
        with suppress(AssertionError):  # raised when it did not start
            self._sidecar.restart()
        timer.join()
        self.killed_starting += 1
        self._sidecar.stop(signal.SIGKILL)

    def _repeat_and_compare(self) -> None:
        """Repeat requests without a response, and some with one, and compare."""
        answered = [call for call in self.clients.calls if call.finished]
        repeat = self._random.sample(answered, min(MAX_REPEATED, len(answered)))
        self.repeated += len(repeat)
        self._runner.run(self.clients.finish(self._sidecar.addresses[0], repeat))
        self.faults += self.clients.faults
        if not self.faults:
            self.faults += comparison.compared(self.clients.calls, self._sidecar.ledger)

    def _verify_by_command(self) -> None:
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
