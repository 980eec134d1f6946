"""What a rule's header says of alerts reaches the ledger, and housekeeping looks for the rest."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from support.desk import Desk
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

from sidecar.ledger.protocol import Ledger, LedgerUnavailableError
from sidecar.runtime import maintenance

WINDOWS = ("minute", "hour", "day", "month", "concurrent")


def told(desk: Desk) -> set[tuple[str, int]]:
    """Return rule and threshold of what the log is owed."""
    due = desk.ledger.due("log", desk.now_us, 100)
    return {(one.alert.rule, one.alert.percent) for one in due}


def test_without_alert_at_windows_that_take_a_while_have_three_thresholds(
    open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """An hour, a day and a month at 50, 80 and 100 %; a minute and what is concurrent, none."""
    desk = open_desk(minimal(tmp_path / "p", **{w: limit("1", window=w) for w in WINDOWS}))
    desk.authorize(chat(tester(), model="small-1"))
    long = ("hour", "day", "month")
    assert told(desk) == {(window, percent) for window in long for percent in (50, 80, 100)}


def test_alert_at_says_which_thresholds_a_limit_has(
    open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """In any order, for every window, and beyond the ceiling as well."""
    extra = "// alert_at: 100%, 25%, 25%, 150%\n"
    files = {w: limit("1", window=w, extra=extra) for w in WINDOWS}
    desk = open_desk(minimal(tmp_path / "p", **files))
    desk.authorize(chat(tester(), model="small-1"))
    assert told(desk) == {(window, percent) for window in WINDOWS for percent in (25, 100)}


def test_a_scope_is_what_the_limit_counts_for(
    open_desk: Callable[..., Desk], tmp_path: Path
) -> None:
    """As the rule's `per` says, each on its own."""
    rule = limit("1", per="principal.id", extra="// alert_at: 100%\n")
    desk = open_desk(minimal(tmp_path / "p", each=rule))
    for who in ("ada", "bob", "ada"):
        desk.authorize(chat(tester(id=who), model="small-1"))
    assert [one.alert.scope for one in desk.ledger.due("log", desk.now_us, 9)] == ["ada", "bob"]


def test_housekeeping_looks_for_burn_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the ledger was unavailable."""
    monkeypatch.setattr(maintenance, "BURN_EVERY_SECONDS", 0)
    looks: list[int] = []

    class Looked:
        async def burn(self, at_us: int) -> int:
            looks.append(at_us)
            if len(looks) == 1:
                raise LedgerUnavailableError("the disk is full")
            if len(looks) == 3:
                raise EOFError
            return 0

    current_recorder = maintenance.run_maintenance(cast("Ledger", Looked()), lambda: 7, 0)
    with pytest.raises(EOFError):
        asyncio.run(asyncio.wait_for(current_recorder, 10))
    assert looks == [7, 7, 7]
