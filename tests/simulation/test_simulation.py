"""L1 to L9 in simulated worlds; the simulation is repeatable, and finds broken promises."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.domain.decisions import HoldState
from sidecar.ledger import group_commit, ledger_file
from sidecar.ledger.admission import Admission
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.balances import Balance, LedgerTime
from sidecar.ledger.group_commit import GroupCommit
from sidecar.ledger.settlement import Settlements
from simulation.disk import FAULTS
from simulation.world import World

BATCH = 250
BATCHES = 8
ENOUGH = 300
"""Seeds in which any broken promise is seen."""


def run(seeds: Iterable[int]) -> set[str]:
    """Run them all; return the faults that happened."""
    faults: set[str] = set()
    for seed in seeds:
        world = World(seed)
        world.run()
        faults |= set(world.faults)
    return faults


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_promise_holds_in_every_world(batch: int) -> None:
    """L1 to L9: whatever clients and the clock do, and however commits fail, in every way."""
    faults = run(range(batch * BATCH, (batch + 1) * BATCH))
    assert set(FAULTS) == faults


def test_a_seed_replays_exactly() -> None:
    """The same seed is the same world step by step, in another process, too."""
    first, second = World(11), World(11)
    first.run()
    second.run()
    assert first.trace == second.trace
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "simulation", "--seed", "11"]
    replay = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert [*first.trace, f"digest {first.digest}"] == replay.stdout.splitlines()


# -- Each of these breaks one thing, and gives the promise that is then broken ------

Break = Callable[[pytest.MonkeyPatch], None]


def everything_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold without checking the ceiling."""
    monkeypatch.setattr(Balance, "fits", lambda *_: True)


def answers_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Respond before the commit."""

    async def commit(self: Any, group: Any) -> None:
        await self._begin()
        answers = [self._run(request.work) for request in group]
        self._finish()
        group_commit._resolve(group, answers)  # noqa: SLF001
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._connection.execute, "COMMIT")

    monkeypatch.setattr(GroupCommit, "_commit", commit)


def the_disk_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit without a flush."""
    open_writer = ledger_file.open_writer

    def open_lazily(path: Path) -> Any:
        connection = open_writer(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    monkeypatch.setattr(ledger_file, "open_writer", open_lazily)


def holds_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle a hold each time it is asked for."""
    state = Settlements._state  # noqa: SLF001
    monkeypatch.setattr(
        Settlements, "_state", lambda self, hold_id: (state(self, hold_id)[0], HoldState.OPEN)
    )


def an_id_stands_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not compare what a request id was used for."""
    decide = Admission.decide

    def without_content(self: Any, reservation: Any) -> Any:
        return decide(self, replace(reservation, call=replace(reservation.call, fingerprint=b"")))

    monkeypatch.setattr(Admission, "decide", without_content)


def repeats_are_not_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide a repeated request anew."""
    monkeypatch.setattr(Admission, "_earlier", lambda *_: None)


def what_expires_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charge nothing for a hold that expired."""
    move = Settlements._move  # noqa: SLF001

    def move_for_free(self: Any, row: int, state: Any, charge: Any) -> None:
        move(self, row, state, (lambda _: 0) if "expire" in charge.__qualname__ else charge)

    monkeypatch.setattr(Settlements, "_move", move_for_free)


def what_failed_is_not_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the transaction of a group that failed as it is."""
    monkeypatch.setattr(GroupCommit, "_roll_back", lambda _: None)


def time_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go back when the clock does."""
    monkeypatch.setattr(LedgerTime, "advance", lambda _, at_us: at_us)


def no_alert_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every alert for one that was raised before."""
    monkeypatch.setattr(Alerts, "_is_new", lambda *_: False)


def what_was_rolled_back_counts_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember alerts that are not in the file."""
    monkeypatch.setattr(Alerts, "forget", lambda _: None)


@pytest.mark.parametrize(
    ("broken", "promises"),
    [
        (everything_fits, {"L1"}),
        (answers_come_first, {"L4"}),
        (the_disk_is_not_waited_for, {"L4"}),
        (holds_stay_open, {"L2", "L3"}),
        (an_id_stands_for_anything, {"L3"}),
        (repeats_are_not_recognized, {"L4"}),
        (what_expires_is_free, {"L2", "L5"}),  # its budgets say 0, its hold the worst case
        (what_failed_is_not_rolled_back, {"L4"}),
        (time_follows_the_clock, {"L8", "L9"}),
        (no_alert_is_raised, {"A1"}),
        (what_was_rolled_back_counts_as_told, {"A1"}),
    ],
)
def test_a_broken_promise_is_seen(
    broken: Break, promises: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger with one bug fails, with the promise, and with the command that repeats it."""
    broken(monkeypatch)
    with pytest.raises(AssertionError) as caught:
        run(range(ENOUGH))
    assert str(caught.value)[:2] in promises
    (note,) = caught.value.__notes__
    with pytest.raises(AssertionError) as again:
        run([int(note.removeprefix("make simulate SEED="))])
    assert str(caught.value) == str(again.value)
