"""One attack against one sidecar, and what it did to the sidecar and its honest caller."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from support.commands import sidecar as command
from support.memory import MemoryLimit, limit_bytes, limited, peak_bytes
from support.sidecar_process import RunningSidecar

from siege.attack import Fuzzer
from siege.honest_caller import HonestCaller, policies

STOP_SECONDS = 30.0
MEMORY_BYTES = limit_bytes()
MAX_TRACEBACKS = 10


@dataclass
class Outcome:
    """What an attack did."""

    inputs: int = 0
    honest_calls: int = 0
    waits_ms: list[float] = field(default_factory=list)
    """Of the honest caller's RPCs."""
    peak_bytes: int = 0
    """The most memory that the sidecar had; 0 where the system does not say."""
    memory_limit: str = ""
    """What kept it below the memory that it may have, for people."""
    faults: list[str] = field(default_factory=list)


def besiege(
    kind: type[Fuzzer],
    folder: Path,
    seed: int,
    *,
    inputs: float = float("inf"),
    seconds: float = float("inf"),
    memory_bytes: int = MEMORY_BYTES,
    report: Callable[[int, float], object] = lambda *_: None,
) -> Outcome:
    """Attack a new sidecar with a number of inputs, or for a time; stop at the first fault.

    It has the memory that the manifest gives it. `report` gets the number of inputs and the
    seconds so far.
    """
    fuzzer = kind(folder, policies(folder / "policies"), Random(seed))  # noqa: S311 - a seed repeats
    with limited(memory_bytes) as memory:
        sidecar = RunningSidecar(
            fuzzer.policies, folder / "ledger.sqlite", fuzzer.arguments, prefix=memory.prefix
        ).start()
        outcome, log = Outcome(memory_limit=memory.name), _Log(sidecar)
        honest = HonestCaller(sidecar.addresses[0], fuzzer.credentials)
        began = time.monotonic()
        try:
            for _ in fuzzer.attack(sidecar):
                outcome.inputs += 1
                passed = time.monotonic() - began
                report(outcome.inputs, passed)
                if outcome.inputs >= inputs or passed > seconds or honest.faults:
                    break
        except Exception as error:  # such as a refused connection, because the sidecar has ended
            outcome.faults.append(f"input {outcome.inputs + 1}: {error!r}")
        finally:
            honest.end()
            outcome.peak_bytes = peak_bytes(sidecar)
            code = log.end()
        outcome.honest_calls, outcome.waits_ms = honest.calls, honest.waits_ms
        outcome.faults += [*honest.faults, *log.faults, *_after(code, outcome, memory)]
    return _verified(outcome, sidecar.ledger)


def _after(code: int, outcome: Outcome, memory: MemoryLimit) -> list[str]:
    """Return what is wrong after the end: the exit code, and the memory."""
    faults = []
    if code:
        faults.append(f"exit code {code} after SIGTERM")
    if memory.kills():
        faults.append(f"killed for its memory, by the {memory.name}")
    if outcome.peak_bytes >= memory.size_bytes:
        faults.append(f"{outcome.peak_bytes >> 20} MiB, and it may have {memory.size_bytes >> 20}")
    return faults


def _verified(outcome: Outcome, ledger: Path) -> Outcome:
    """Add what is wrong with the ledger."""
    status, out, err = command("ledger", "verify", "--ledger", ledger)
    if status or "clean" not in out:
        outcome.faults.append(f"ledger verify: {out}{err}")
    return outcome


class _Log:
    """Reads a sidecar's log while it runs, since a full pipe would drop lines."""

    def __init__(self, sidecar: RunningSidecar) -> None:
        self.faults: list[str] = []
        self._sidecar = sidecar
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def end(self) -> int:
        """Stop the sidecar, and return its exit code."""
        process = self._sidecar.process
        assert process is not None
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # its exit code is a fault
        self._thread.join()
        return process.wait()

    def _read(self) -> None:
        assert self._sidecar.process is not None
        assert self._sidecar.process.stderr is not None
        with self._sidecar.process.stderr as lines:
            before = ""
            for line in lines:
                if line.startswith("Traceback") and len(self.faults) < MAX_TRACEBACKS:
                    self.faults.append(f"in the log: {before}{line}{''.join(_traceback(lines))}")
                before = line


def _traceback(lines: Iterator[str]) -> Iterator[str]:
    """Take the rest of a traceback from a log: to the first line that is not indented."""
    for line in lines:
        yield line
        if not line.startswith(" "):
            return
