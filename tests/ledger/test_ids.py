"""Ids of decisions and holds: they carry their row, and no caller can guess or bend them."""

import re
import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger.conftest import LedgerHarness
from support.older_ledger import file_of
from support.reservations import limit, reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, HoldState
from sidecar.ledger.protocol import HoldUnknownError
from sidecar.ledger.sqlite import SqliteLedger

NOON = 1_790_000_000 * SECOND_US
OLD = Path(__file__).parent / "upgrades" / "0015_denials.sql"

RANDOM = "0123456789abcdef0123"


def decide(harness: LedgerHarness, calls: int = 1) -> list[Decision]:
    """Decide so many calls."""
    return [
        harness.run(harness.ledger.decide(reservation(NOON, limit(10_000)))) for _ in range(calls)
    ]


def is_unknown(harness: LedgerHarness, hold_id: str) -> bool:
    """Whether no way to use a hold finds one with this id."""
    found = harness.together(
        harness.ledger.settle(hold_id, settlement(NOON, 1)),
        harness.ledger.release(hold_id, "not sent", NOON),
        harness.ledger.settle(hold_id, replace(settlement(NOON, 1), refused=True)),
    )
    with pytest.raises(HoldUnknownError):
        harness.ledger.hold(hold_id)
    return all(isinstance(one, HoldUnknownError) for one in found)


def test_an_id_has_its_row_and_80_random_bits(harness: LedgerHarness) -> None:
    """Ids of one call belong together, and those of two have nothing in common but the form."""
    first, second = decide(harness, 2)
    assert re.fullmatch("dec_1-[0-9a-f]{20}", first.decision_id)
    assert re.fullmatch("hold_2-[0-9a-f]{20}", second.hold_id)
    assert first.hold_id.removeprefix("hold_") == first.decision_id.removeprefix("dec_")
    assert first.hold_id[-20:] != second.hold_id[-20:]


def test_a_dry_run_has_an_id_that_is_no_row(harness: LedgerHarness) -> None:
    """Nothing is recorded, so no row is named, and two have different ids."""
    ids = {harness.ledger.preview(reservation(NOON, limit(1))).decision_id for _ in range(2)}
    assert [one[:6] for one in ids] == ["dec_0-"] * 2


HOSTILE = [
    "", "hold_", "hold_1", "hold_-", "hold_1-", f"hold_-{RANDOM}", f"hold_0-{RANDOM}",
    f"hold_1-{RANDOM}", f"hold_7-{RANDOM}", f"hold_-1-{RANDOM}", f"hold_+1-{RANDOM}",
    f"hold_{'f' * 15}-{RANDOM}", f"hold_{'f' * 16}-{RANDOM}", f"hold_{'9' * 400}-{RANDOM}",
    f"hold_1_0-{RANDOM}", f"hold_0x1-{RANDOM}", f"hold_\u0661-{RANDOM}", f"hold_1\n-{RANDOM}",
    f"hold_1-{RANDOM}\n", f"hold_1-{RANDOM}\0", "hold_1-%", "hold_1-____________________",
    "\0", "\N{SNOWMAN}", "' OR 1=1 --", "hold_1-' OR '1'='1",
]  # fmt: skip


@pytest.mark.parametrize("hold_id", HOSTILE, ids=ascii)
def test_an_id_that_no_answer_had_is_unknown(hold_id: str, harness: LedgerHarness) -> None:
    """A malformed one, another row's, a number that no file can have: never another error."""
    (decision,) = decide(harness)
    assert is_unknown(harness, hold_id)
    assert harness.ledger.hold(decision.hold_id).state is HoldState.OPEN


def variants(hold_id: str) -> list[str]:
    """Return ids that differ from a right one in one place."""
    prefix, _, unique = hold_id.partition("_")
    row, _, random = unique.partition("-")
    return [
        f"{prefix}_0{row}-{random}", f"{prefix}_{int(row, 16) + 1:x}-{random}",
        f"{prefix}_{row}-{random[:-1]}", f"{prefix}_{row}-{random}0",
        f"{prefix}_{row}-{random[::-1]}", f"{prefix}_{row}{random}", f"dec_{unique}",
        f"{prefix}_{row}-{random.upper()}x", f" {hold_id}", f"{hold_id} ", hold_id.upper(),
    ]  # fmt: skip


def test_an_id_is_compared_whole(harness: LedgerHarness) -> None:
    """What looks like a hold's id is not it, not even with another hold's random part."""
    first, second = decide(harness, 2)
    for hold_id in variants(first.hold_id):
        assert is_unknown(harness, hold_id)
    assert is_unknown(harness, f"hold_1-{second.hold_id[-20:]}")
    assert is_unknown(harness, f"hold_2-{first.hold_id[-20:]}")
    charge = harness.run(harness.ledger.settle(first.hold_id, settlement(NOON, 7)))
    assert charge.tokens == 7


def test_a_denied_call_has_no_hold_to_settle(harness: LedgerHarness) -> None:
    """Its decision has a row id, which is the id of no hold."""
    decision = harness.run(harness.ledger.decide(reservation(NOON, limit(1))))
    assert not decision.hold_id
    assert is_unknown(harness, decision.decision_id.replace("dec_", "hold_"))


@pytest.mark.property
@given(text=st.text(st.sampled_from(f"_-+.x{string.hexdigits}\0\u0661"), max_size=60))
def test_no_text_is_an_error(text: str, a_ledger: LedgerHarness) -> None:
    """Whatever follows the prefix, the hold is unknown."""
    assert is_unknown(a_ledger, f"hold_{text}")


@pytest.fixture(scope="module")
def a_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerHarness]:
    """A ledger with a few holds."""
    harness = LedgerHarness(SqliteLedger, tmp_path_factory.mktemp("ids") / "ledger.sqlite")
    decide(harness, 3)
    yield harness
    harness.close()


def test_an_earlier_id_is_found_until_it_is_pruned(tmp_path: Path) -> None:
    """L3: an app settles a hold that it got before the upgrade."""
    path = file_of(OLD, tmp_path / "ledger.sqlite")
    harness = LedgerHarness(SqliteLedger, path)
    assert isinstance(harness.ledger, SqliteLedger)
    now_us = harness.ledger.latest_us
    earlier = [hold.hold_id for hold in harness.ledger.open_holds((0, 0), 100)]
    assert earlier
    assert all("-" not in hold_id for hold_id in earlier)
    for hold_id in earlier:
        assert is_unknown(harness, hold_id[:-1])
        assert harness.run(harness.ledger.settle(hold_id, settlement(now_us, 5))).tokens == 5
    much_later_us = now_us + 10**15
    harness.run(harness.ledger.decide(reservation(much_later_us, limit(10_000))))
    while harness.run(harness.ledger.prune(much_later_us, 1)):
        pass
    for hold_id in earlier:
        assert is_unknown(harness, hold_id)
    assert harness.findings() == []
    harness.close()
