"""L1, L2, L3, L5, L6, L9: the ledger agrees with a small model in Python."""

import tempfile
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)
from ledger.conftest import LedgerHarness
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Charge, Decision, Effect, Meter
from sidecar.domain.windows import DEFAULT_ANCHOR, Anchor, Calendar, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.protocol import HoldUnknownError
from sidecar.ledger.sqlite import SqliteLedger

START = to_us(datetime(2026, 10, 30, 22, tzinfo=UTC))
TTL = 30 * SECOND_US
CEILINGS = {
    Window.MINUTE: 300,
    Window.HOUR: 700,
    Window.DAY: 1500,
    Window.WEEK: 2000,
    Window.MONTH: 2500,
    Window.QUARTER: 3000,
    Window.YEAR: 3500,
    Window.TOTAL: 4000,
    Window.CONCURRENT: 400,
}
ANCHORS = {
    Window.DAY: Anchor(hour=23),
    Window.WEEK: Anchor(6, 3),
    Window.MONTH: Anchor(hour=12),
    Window.QUARTER: Anchor(28),
}
LIMITS = [
    limit(ceiling, Meter.TOKENS, window)._replace(anchor=ANCHORS.get(window, DEFAULT_ANCHOR))
    for window, ceiling in CEILINGS.items()
]
RETENTION_US = 2 * 3600 * SECOND_US
TOKENS = st.integers(1, 400)
_AMOUNTS = """
SELECT hold_id, state, window, a.held, a.charged, a.charge_on_expiry
FROM hold_amounts a JOIN holds h ON h.id = a.hold JOIN budgets b ON b.id = a.budget"""


@dataclass
class Held:
    """One hold of the model."""

    at_us: int
    tokens: int
    state: str = "open"
    charged: int = 0
    closed_us: int = 0

    def close(self, state: str, charged: int, at_us: int) -> None:
        """End it, or correct how it ended."""
        self.state, self.charged, self.closed_us = state, charged, at_us

    def counts(self, window: Window) -> int:
        """Its amount on a limit: the hold while open, then the charge."""
        if self.state == "open":
            return self.tokens
        return 0 if window is Window.CONCURRENT else self.charged


@dataclass
class Model:
    """A minimal model of the ledger."""

    now_us: int = 0
    """The ledger's time, which changes of the ledger move on; reads do not."""
    holds: dict[str, Held] = field(default_factory=dict)

    def used(self, window: Window, now_us: int) -> int:
        """Add up what counts in the window of a moment."""
        if window is Window.CONCURRENT:
            inside = list(self.holds.values())
        elif window is Window.MINUTE:  # by the second: all of it goes when its last one goes
            last: dict[int, int] = {}
            for hold in self.holds.values():
                second = hold.at_us // SECOND_US
                last[second] = max(last.get(second, 0), hold.at_us)
            inside = [
                hold
                for hold in self.holds.values()
                if last[hold.at_us // SECOND_US] + 60 * SECOND_US > now_us
            ]
        else:
            span = Calendar().span(window, now_us, ANCHORS.get(window, DEFAULT_ANCHOR))
            inside = [h for h in self.holds.values() if span.start_us <= h.at_us < span.end_us]
        return sum(hold.counts(window) for hold in inside)

    def fits(self, tokens: int) -> bool:
        """L1, for every limit."""
        return all(
            self.used(window, self.now_us) + tokens <= top for window, top in CEILINGS.items()
        )

    def expire(self) -> None:
        """L5."""
        for hold in self.holds.values():
            if hold.state == "open" and hold.at_us + TTL <= self.now_us:
                hold.close("expired", hold.tokens, self.now_us)


class LedgerMachine(RuleBasedStateMachine):
    """Drives both, and compares after every step."""

    holds: Bundle[str] = Bundle("holds")

    def __init__(self) -> None:
        """Open a fresh ledger."""
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._harness = LedgerHarness(SqliteLedger, Path(self._folder.name) / "ledger.sqlite")
        self._model = Model()
        self._clock_us = START

    def teardown(self) -> None:
        """L2: the ledger passes verification at the end."""
        found = self._harness.findings()
        self._harness.close()
        self._folder.cleanup()
        assert found == []

    @rule(target=holds, tokens=TOKENS)
    def authorize(self, tokens: int) -> MultipleResults[str] | str:
        """Hold, or be refused, as the model says."""
        return self._decided(tokens, self._harness.run(self._decide(tokens)))

    @rule(target=holds, first=holds, second=holds, used=st.integers(0, 500), tokens=TOKENS)
    def settle_two_and_authorize(
        self, first: str, second: str, used: int, tokens: int
    ) -> MultipleResults[str] | str:
        """All in one group, in which the settlements come first."""
        settled, other, decision = self._harness.together(
            self._settle(first, used), self._settle(second, used), self._decide(tokens)
        )
        self._closed(first, "settled", used, settled)
        self._closed(second, "settled", used, other)
        assert isinstance(decision, Decision)
        return self._decided(tokens, decision)

    def _decide(self, tokens: int) -> Coroutine[Any, Any, Decision]:
        request = reservation(self._clock_us, *LIMITS, tokens=tokens, ttl_us=TTL)
        return self._harness.ledger.decide(request)

    def _decided(self, tokens: int, decision: Decision) -> MultipleResults[str] | str:
        """Compare a decision with the model's."""
        self._model.now_us = max(self._model.now_us, self._clock_us)
        self._model.expire()  # one limit counts open holds: those that are due go first
        expected = self._model.fits(tokens)
        assert expected == (decision.effect is Effect.ALLOW)
        if not expected:
            larger = any(tokens > top for top in CEILINGS.values())
            over = (
                self._model.used(Window.TOTAL, self._model.now_us) + tokens > CEILINGS[Window.TOTAL]
            )
            assert (decision.retry_after_us == 0) == (larger or over)
            return multiple()
        self._model.holds[decision.hold_id] = Held(self._model.now_us, tokens)
        return decision.hold_id

    @rule(hold_id=holds, tokens=st.integers(0, 500))
    def settle(self, hold_id: str, tokens: int) -> None:
        """Charge the real usage, once."""
        (charge,) = self._harness.together(self._settle(hold_id, tokens))
        self._closed(hold_id, "settled", tokens, charge)

    def _settle(self, hold_id: str, tokens: int) -> Coroutine[Any, Any, Charge]:
        return self._harness.ledger.settle(hold_id, settlement(self._clock_us, tokens))

    @rule(hold_id=holds)
    def release(self, hold_id: str) -> None:
        """Charge nothing, once."""
        work = self._harness.ledger.release(hold_id, "not sent", self._clock_us)
        (charge,) = self._harness.together(work)
        self._closed(hold_id, "released", 0, charge)

    def _closed(self, hold_id: str, state: str, tokens: int, charge: object) -> None:
        """Close a hold in the model, too, unless it is pruned; that has to be an old one."""
        hold = self._model.holds[hold_id]
        self._model.now_us = max(self._model.now_us, self._clock_us)
        if isinstance(charge, HoldUnknownError):
            assert hold.state != "open"
            assert hold.closed_us < self._model.now_us - RETENTION_US
            return
        assert isinstance(charge, Charge)
        if hold.state in ("open", "expired"):
            hold.close(state, tokens, self._model.now_us)
        assert hold.charged == charge.tokens

    @rule()
    def expire(self) -> None:
        """Charge the holds that were not settled in time."""
        self._model.now_us = max(self._model.now_us, self._clock_us)
        self._model.expire()
        self._harness.run(self._harness.ledger.expire(self._clock_us))

    @rule(seconds=st.sampled_from([0.1, 1, 20, 59.9, 60, 3600, 7200, 86_400]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._clock_us += int(seconds * SECOND_US)

    @rule(seconds=st.sampled_from([1, 3600, 86_400]))
    def set_clock_back(self, seconds: int) -> None:
        """L9: the clock goes back; the ledger's time does not."""
        self._clock_us -= seconds * SECOND_US

    @rule()
    def restart(self) -> None:
        """L4: what was answered is read from disk.

        The ledger's time goes on from its last decision, so the clock has to be right.
        """
        self._harness.reopen()
        assert isinstance(self._harness.ledger, SqliteLedger)
        self._model.now_us = self._harness.ledger.latest_us
        self._clock_us = max(self._clock_us, self._model.now_us)  # else it would not start

    @rule()
    def prune(self) -> None:
        """L2: what pruned holds were charged still counts, for as long as its windows last."""
        self._model.now_us = max(self._model.now_us, self._clock_us)
        self._harness.run(self._harness.ledger.prune(self._clock_us, RETENTION_US))

    @invariant()
    def stands_alike(self) -> None:
        """Every limit has used what the model says, and never more than its ceiling by a hold."""
        now_us = max(self._model.now_us, self._clock_us)
        used = {b.rule: b.spent + b.held for b in self._harness.ledger.budgets(LIMITS, now_us)}
        assert {one.rule: self._model.used(one.window, now_us) for one in LIMITS} == used

    @invariant()
    def holds_have_their_amounts(self) -> None:
        """The view has a row for each limit of each hold that is kept."""
        with closing(ledger_file.open_reader(self._harness.path)) as reader:
            (kept,) = reader.execute("SELECT count(*) FROM holds").fetchone()
            found = reader.execute(_AMOUNTS).fetchall()
        assert len(found) == kept * len(LIMITS)
        for hold_id, state, window, held, charged, charge_on_expiry in found:
            hold = self._model.holds[hold_id]
            spent = 0 if hold.state == "open" else hold.counts(Window(window))
            assert (state, held, charged, charge_on_expiry) == (hold.state, hold.tokens, spent, 1)


LedgerMachine.TestCase.settings = settings(
    stateful_step_count=30, max_examples=settings().max_examples * 2 // 3
)
TestLedgerAgainstModel = pytest.mark.property(LedgerMachine.TestCase)
