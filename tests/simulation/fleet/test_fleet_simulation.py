"""G1 to G10 in simulated fleets; the simulation is repeatable, and finds broken promises."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from fleet import simulated_books

from sidecar.domain.clock import SECOND_US
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import BudgetKey, Demand, Grant, Share, grant
from sidecar.domain.windows import MINUTE_US
from sidecar.fleet import books, contact, waiters
from sidecar.fleet.books import FleetRow, HolderRow
from sidecar.fleet.exchanger import Exchanger
from sidecar.fleet.load import Use
from sidecar.fleet.protocol import Exchange, Item
from sidecar.ledger import fleet_balances
from sidecar.ledger.shares import Shares
from simulation.fleet.world import World

BATCH = 125
BATCHES = 8
SEEDS_FOR_A_BUG = 400
"""As many seeds as it takes to find any of the bugs below."""


def run(seeds: Iterable[int]) -> Counter[str]:
    """Run the worlds; return the events and faults that occurred."""
    faults: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        world.run()
        faults += world.faults
    return faults


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_promise_holds_in_every_fleet(batch: int) -> None:
    """G1 to G10: with every fault of pods, disks, clocks, the network and the books."""
    faults = run(range(batch * BATCH, (batch + 1) * BATCH))
    assert set(faults) >= EVENTS


EVENTS = {
    "cut", "kill", "lose", "stop", "stand_still", "copy", "serve_backup", "fail_over",
    "replace_server", "change_policies", "change_policy", "adjust", "lose_books",
}  # fmt: skip


def test_a_seed_replays_exactly() -> None:
    """The same seed has the same trace, in another process, too."""
    first, second = World(11), World(11)
    first.run()
    second.run()
    assert first.trace == second.trace
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "simulation.fleet", "--seed", "11"]
    replay = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert [*first.trace, f"digest {first.digest}"] == replay.stdout.splitlines()


# -- Bugs: each patches one piece of a holder or of the books, so that a promise is broken --------

Bug = Callable[[pytest.MonkeyPatch], None]


def told_before_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the books what is given back before it falls on disk."""
    put = Shares.put

    def put_what_the_books_said(self: Shares, key: BudgetKey, end_us: int, share: Share) -> None:
        if share.as_of_us != self.get(key).as_of_us:
            put(self, key, end_us, share)

    monkeypatch.setattr(Shares, "put", put_what_the_books_said)


def another_version_on_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send an exchange that was not answered with the next version."""
    lost = Exchanger._lost  # noqa: SLF001

    def lose(self: Any, error: SidecarError) -> None:
        if self._pending is not None:
            self._holder = self._holder._replace(version=self._pending.version)
            self._pending = None
        lost(self, error)

    monkeypatch.setattr(Exchanger, "_lost", lose)


def no_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grant at once after commits were lost."""
    monkeypatch.setattr(books, "learning_us", lambda _: 0)


def refund_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the share of a silent holder to others, also of a window that ends."""
    for module in (books, simulated_books):
        monkeypatch.setattr(module, "lapses_us", lambda _, seen_us, __: seen_us + 5 * SECOND_US)


def ask_and_return_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back what is free in an exchange that asks for more."""
    item_of = Exchanger._item  # noqa: SLF001

    def item(self: Any, use: Use, asked: list[int], *others: Any, **options: Any) -> Item:
        item = item_of(self, use, asked, *others, **options)
        share = self._ledger.balances.shares.get(use.key)
        if not asked or share.granted <= item.demand.used:
            return item
        less = share._replace(granted=item.demand.used)
        self._ledger.balances.shares.put(use.key, use.end_us, less)
        return item._replace(demand=item.demand._replace(have=less.granted))

    monkeypatch.setattr(Exchanger, "_item", item)


def no_fencing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe any holder that gives the id of one."""
    check = books.check

    def check_fleet(exchange: Exchange, fleet: FleetRow, _: HolderRow | None, line: int) -> None:
        check(exchange, fleet, None, line)

    monkeypatch.setattr(books, "check", check_fleet)


def the_books_take_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower a share in the books first: what its holder does not use."""

    def grant_less(demand: Demand, *others: int, **options: bool) -> Grant:
        return grant(demand._replace(have=demand.used), *others, **options)

    monkeypatch.setattr(books, "grant", grant_less)


def a_minute_of_60_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was admitted on a sliding minute count for no longer than that."""
    monkeypatch.setattr(fleet_balances, "FLEET_MINUTE_US", MINUTE_US)


def an_overrun_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a share as large as what is used."""

    def grant_overrun(demand: Demand, *others: int, **options: bool) -> Grant:
        granted = grant(demand, *others, **options)
        return granted._replace(granted=max(granted.granted, demand.used))

    monkeypatch.setattr(books, "grant", grant_overrun)


def silence_is_not_minded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on with timeless shares, however long the books were silent."""
    monkeypatch.setattr(contact, "SILENT_US", 10**15)


def denied_by_old_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny for half a minute what the books once had no room for."""
    monkeypatch.setattr(waiters, "REFUSED_US", 30 * SECOND_US)


@pytest.mark.parametrize(
    ("bug", "promises", "first"),
    [
        (told_before_disk, {"G2", "G3", "L1", "G1"}, 23),
        (another_version_on_retry, {"G4", "G5"}, 0),
        (no_learning, {"G8"}, 13),
        (refund_by_time, {"G1", "G3", "L1"}, 0),
        (ask_and_return_together, {"pr", "G9"}, 110),
        (no_fencing, {"G5"}, 0),
        (the_books_take_back, {"G3"}, 0),
        (a_minute_of_60_seconds, {"L1"}, 79),
        (an_overrun_is_granted, {"G1"}, 0),
        (silence_is_not_minded, {"L1", "G2"}, 56),
        (denied_by_old_word, {"G9"}, 0),
    ],
)
def test_a_bug_in_a_fleet_is_found(
    bug: Bug, promises: set[str], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure names the broken promise, and the command that repeats it.

    The first seed only saves time: one of those after it finds the bug, too.
    """
    bug(monkeypatch)
    with pytest.raises(AssertionError) as caught:
        run(range(first, first + SEEDS_FOR_A_BUG))
    assert str(caught.value)[:2] in promises
    (note,) = caught.value.__notes__
    with pytest.raises(AssertionError) as again:
        run([int(note.removeprefix("python -m simulation.fleet --seed "))])
    assert str(caught.value) == str(again.value)
