"""L1 to L9 and A1 in simulated worlds; the simulation is repeatable, and finds broken promises."""

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
from sidecar.ledger import admission, ledger_file
from sidecar.ledger.admission import Admission
from sidecar.ledger.alerts import Alerts
from sidecar.ledger.balances import Balance, LedgerTime
from sidecar.ledger.group_commit import GroupCommit
from sidecar.ledger.settlement import Settlements
from simulation.disk import FAULTS
from simulation.world import World

BATCH = 250
BATCHES = 4
SEEDS_FOR_A_BUG = 300
"""As many seeds as it takes to find any of the bugs below."""


def run(seeds: Iterable[int]) -> set[str]:
    """Run the worlds; return the faults of the disk that occurred."""
    faults: set[str] = set()
    for seed in seeds:
        world = World(seed)
        world.run()
        faults |= set(world.faults)
    return faults


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_promise_holds_in_every_world(batch: int) -> None:
    """L1 to L9: with every fault of clients, clock and commits."""
    faults = run(range(batch * BATCH, (batch + 1) * BATCH))
    assert set(FAULTS) == faults


def test_a_seed_replays_exactly() -> None:
    """The same seed has the same trace, in another process, too."""
    first, second = World(11), World(11)
    first.run()
    second.run()
    assert first.trace == second.trace
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "simulation", "--seed", "11"]
    replay = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert [*first.trace, f"digest {first.digest}"] == replay.stdout.splitlines()


# -- Bugs: each patches one piece of the ledger, so that a promise is broken ------

Bug = Callable[[pytest.MonkeyPatch], None]


def ceiling_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Admit calls above the ceiling."""
    monkeypatch.setattr(Balance, "fits", lambda *_: True)


def response_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Respond before the commit."""

    async def commit(self: Any, group: Any) -> None:
        await self._begin()
        answers = [request.run(self._refusals) for request in group]
        self._finish()
        self._resolve(group, answers)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._connection.execute, "COMMIT")

    monkeypatch.setattr(GroupCommit, "_commit", commit)


def commit_without_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit without a flush."""
    open_writer = ledger_file.open_writer

    def open_lazily(path: Path) -> Any:
        connection = open_writer(path)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    monkeypatch.setattr(ledger_file, "open_writer", open_lazily)


def closed_holds_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle a hold again for each Settle."""
    read = Settlements.read

    def read_open(self: Any, hold_id: str, owner: str) -> Any:
        found = read(self, hold_id, owner)
        return found._replace(hold=replace(found.hold, state=HoldState.OPEN))

    monkeypatch.setattr(Settlements, "read", read_open)


def content_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept a request_id with other content."""
    decide = Admission.decide

    def without_content(self: Any, reservation: Any) -> Any:
        return decide(self, replace(reservation, call=replace(reservation.call, fingerprint=b"")))

    monkeypatch.setattr(Admission, "decide", without_content)


def replays_not_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide a repeated request again."""
    monkeypatch.setattr(admission, "recorded_decision", lambda *_: None)


def expiry_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charge nothing for a hold that expired."""
    move = Settlements._move  # noqa: SLF001

    def move_for_free(self: Any, hold: Any, amounts: Any, charge: Any) -> str:
        is_expiry = "expire" in charge.__qualname__
        return move(self, hold, amounts, (lambda _: 0) if is_expiry else charge)

    monkeypatch.setattr(Settlements, "_move", move_for_free)


def failed_group_not_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit what a failed group had written."""
    monkeypatch.setattr(GroupCommit, "_roll_back", lambda _: None)


def ledger_time_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ledger's time go back with the clock."""
    monkeypatch.setattr(LedgerTime, "advance", lambda _, at_us: at_us)


def no_alert_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every alert as already raised."""
    monkeypatch.setattr(Alerts, "_is_new", lambda *_: False)


def rolled_back_alerts_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat alerts that were rolled back as raised."""
    monkeypatch.setattr(Alerts, "forget", lambda _: None)


@pytest.mark.parametrize(
    ("bug", "promises"),
    [
        (ceiling_not_checked, {"L1"}),
        (response_before_commit, {"L4"}),
        (commit_without_flush, {"L4"}),
        (closed_holds_stay_open, {"L2", "L3", "L8"}),
        (content_not_compared, {"L3"}),
        (replays_not_recognized, {"L3", "L4"}),  # two decisions, or a second that cannot be written
        (expiry_is_free, {"L2", "L5"}),  # the budgets have 0, the hold its worst case
        (failed_group_not_rolled_back, {"L4", "th"}),  # or "the decision log was altered"
        (ledger_time_goes_back, {"L8", "L9"}),
        (no_alert_is_raised, {"A1"}),
        (rolled_back_alerts_remembered, {"A1"}),
    ],
)
def test_a_bug_in_the_ledger_is_found(
    bug: Bug, promises: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure names the broken promise, and the command that repeats it."""
    bug(monkeypatch)
    with pytest.raises(AssertionError) as caught:
        run(range(SEEDS_FOR_A_BUG))
    assert str(caught.value)[:2] in promises
    (note,) = caught.value.__notes__
    with pytest.raises(AssertionError) as again:
        run([int(note.removeprefix("make simulate SEED="))])
    assert str(caught.value) == str(again.value)
