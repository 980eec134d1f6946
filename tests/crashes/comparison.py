"""Comparison of the responses that clients recorded with the ledger file."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb

from crashes.calls import NANO_USD_PER_TOKEN, REQUESTS_PER_MINUTE, Call, Ending
from sidecar.domain.windows import MINUTE_US
from sidecar.ledger import ledger_file
from sidecar.ledger.verify import verify

MISSING, DOUBLE, OTHER = "missing", "double", "other"


@dataclass(frozen=True, slots=True)
class Fault:
    """A difference between the ledger and the recorded responses."""

    kind: str
    """MISSING: answered, and not in the ledger. DOUBLE: counted more than once. OTHER: the rest."""
    text: str


def verified(ledger: Path) -> list[Fault]:
    """Return what `ledger verify` finds in the file."""
    with closing(ledger_file.open_reader(ledger)) as reader:
        found, _ = verify(reader)
    return [Fault(OTHER, f"{finding.promise}: {finding.place}") for finding in found]


def compared(calls: Sequence[Call], ledger: Path) -> list[Fault]:
    """Compare the ledger with the calls, all of which have a response."""
    with closing(ledger_file.open_reader(ledger)) as reader:
        reader.row_factory = sqlite3.Row
        reader.execute("BEGIN")  # one snapshot for all queries
        return [
            *_decisions(calls, reader),
            *_holds(calls, reader),
            *_totals(calls, reader),
            *_ceilings(reader),
        ]


def _decisions(calls: Sequence[Call], reader: sqlite3.Connection) -> Iterator[Fault]:
    """Check that each decision is recorded, and no other."""
    logged = {
        row["request_id"]: (row["decision_id"], row["effect"])
        for row in reader.execute("SELECT request_id, decision_id, effect FROM decision_log")
    }
    for call in calls:
        request_id = call.request.request_id
        assert call.answer is not None, f"{request_id} has no answer yet"
        effect = "allow" if call.answer.effect == pb.EFFECT_ALLOW else "deny"
        found = logged.pop(request_id, None)
        if found != (call.answer.decision_id, effect):
            yield Fault(MISSING, f"{request_id}: answered {effect}, recorded {found}")
    for request_id in logged:
        yield Fault(DOUBLE, f"{request_id}: recorded, but no call has this id")


def _holds(calls: Sequence[Call], reader: sqlite3.Connection) -> Iterator[Fault]:
    """Check each hold: its worst case, or the charge that Settle or Release answered."""
    holds: dict[str, sqlite3.Row] = {
        row["hold_id"]: row
        for row in reader.execute(
            "SELECT hold_id, state, held_cost_nano_usd, charged_cost_nano_usd AS cost,"
            " charged_input_tokens + charged_output_tokens AS tokens FROM holds"
        )
    }
    for call in calls:
        if not call.allowed or call.answer is None:
            continue
        hold_id, held = call.answer.hold_id, call.answer.held_cost_nano_usd
        row = holds.pop(hold_id, None)
        if row is None or row["held_cost_nano_usd"] != held:
            yield Fault(MISSING, f"{hold_id}: held {held}, recorded {_shown(row)}")
        elif call.charged is None and row["state"] not in ("open", "expired"):
            yield Fault(DOUBLE, f"{hold_id}: never closed, recorded {_shown(row)}")
        elif call.charged is not None:
            state = "released" if call.ending is Ending.RELEASE else "settled"
            if (row["state"], row["cost"], row["tokens"]) != (state, *call.charged):
                text = f"{hold_id}: {state} with {call.charged}, recorded {_shown(row)}"
                yield Fault(DOUBLE if row["cost"] > call.charged[0] else MISSING, text)
    for hold_id in holds:
        yield Fault(DOUBLE, f"{hold_id}: recorded, but in no response")


def _totals(calls: Sequence[Call], reader: sqlite3.Connection) -> Iterator[Fault]:
    """Check that each limit has counted exactly the sum of the responses."""
    expected: Counter[tuple[str, str]] = Counter()
    for call in calls:
        if call.allowed:
            principal, tokens = call.request.principal.id, call.tokens_taken
            released = call.ending is Ending.RELEASE and call.charged is not None
            expected["daily-tokens", principal] += tokens
            expected["rate", principal] += not released
            expected["monthly-cost", "lab"] += tokens * NANO_USD_PER_TOKEN
    (expected["open-holds", "lab"],) = reader.execute("SELECT count(*) FROM open_holds").fetchone()
    # An expired hold is released on this limit, and counts again when it is settled.
    (expected["hourly-requests", "lab"],) = reader.execute(
        "SELECT count(*) FROM holds WHERE state IN ('open', 'settled')"
    ).fetchone()
    counted = {
        (row["rule"], row["scope"]): row["used"]
        for row in reader.execute(
            "SELECT rule, scope, sum(spent + held) AS used FROM budgets_by_window GROUP BY 1, 2"
        )
    }
    for key in sorted(expected.keys() | counted.keys()):
        more = counted.get(key, 0) - expected[key]
        if more:
            text = f"{key}: counted {counted.get(key)}, expected {expected[key]}"
            yield Fault(DOUBLE if more > 0 else MISSING, text)


def _ceilings(reader: sqlite3.Connection) -> Iterator[Fault]:
    """L1: no window is above its ceiling, since no call reports more than its hold."""
    for row in reader.execute("SELECT * FROM budgets_by_window WHERE remaining < 0"):
        yield Fault(OTHER, f"above the ceiling: {_shown(row)}")
    admitted: dict[str, list[int]] = {}
    for principal, at_us in reader.execute(
        "SELECT principal, decided_at_us FROM holds JOIN decisions USING (id)"
        " WHERE state <> 'released' ORDER BY decided_at_us"
    ):
        admitted.setdefault(principal, []).append(at_us)
    for principal, times in admitted.items():
        for first, over in zip(times, times[REQUESTS_PER_MINUTE:], strict=False):
            if over - first < MINUTE_US:
                yield Fault(OTHER, f"{principal}: more than its rate in the minute from {first}")


def _shown(row: Any) -> str:
    return "nothing" if row is None else str(dict(row))
