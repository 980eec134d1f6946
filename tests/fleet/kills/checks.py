"""What the clients' records say of the fleet's promises, and of each ledger that was kept."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from fleet.kills.calls import AT_ONCE, BUDGET, CALLS_A_MINUTE, OPEN_HOLDS, RATE, Call

from sidecar.ledger import ledger_file
from sidecar.ledger.verify import verify

MINUTE_SECONDS = 60.0


class Charged(NamedTuple):
    """What was really charged on one budget of the fleet."""

    scope: str
    used: int
    overruns: int


def charged(calls: Iterable[Call]) -> list[Charged]:
    """Return what was charged on each budget, by the clients' own records."""
    used, overruns = Counter[str](), Counter[str]()
    for call in calls:
        if call.scope.startswith(BUDGET):
            used[call.scope] += call.used_nano_usd
            overruns[call.scope] += call.overrun_nano_usd
    return [Charged(scope, used[scope], overruns[scope]) for scope in used]


def above_the_ceiling(calls: Sequence[Call], ceiling: int) -> Iterator[str]:
    """Check all limits of the fleet; what clients cannot know for sure is in its favour."""
    for one in charged(calls):
        if one.used > ceiling + one.overruns:
            yield f"{one.scope}: {one.used} charged, of {ceiling} and {one.overruns} of overruns"
    by_scope = defaultdict(list)
    for call in calls:
        if call.allowed:
            by_scope[call.scope].append(call)
    most = _most_at_once(by_scope[AT_ONCE])
    if most > OPEN_HOLDS:
        yield f"{most} holds were open at once, of {OPEN_HOLDS}"
    most = _most_in_a_minute(by_scope[RATE])
    if most > CALLS_A_MINUTE:
        yield f"{most} calls in a minute, of {CALLS_A_MINUTE}"


def _most_at_once(calls: Sequence[Call]) -> int:
    """Return how many holds were surely open at one time: from the answer to the Settle."""
    changes = [(call.answered, 1) for call in calls if call.ended > call.answered]
    changes += [(call.ended, -1) for call in calls if call.ended > call.answered]
    open_holds = most = 0
    for _, change in sorted(changes):
        open_holds += change
        most = max(most, open_holds)
    return most


def _most_in_a_minute(calls: Sequence[Call]) -> int:
    """Return how many calls surely fell into one minute: from the request to the answer."""
    most = 0
    for first in calls:
        ends = first.sent + MINUTE_SECONDS
        inside = (one for one in calls if first.sent <= one.sent and one.answered < ends)
        most = max(most, sum(1 for _ in inside))
    return most


def lost_answers(calls: Iterable[Call], ledger: Path) -> Iterator[str]:
    """Compare a ledger that nobody serves now with the calls that its clients have recorded."""
    with closing(ledger_file.open_reader(ledger)) as reader:
        found, _ = verify(reader)
        reader.row_factory = sqlite3.Row
        holds = {row["hold_id"]: row for row in reader.execute(_HOLDS)}
        logged = {row["request_id"]: row["effect"] for row in reader.execute(_DECISIONS)}
    yield from (f"{finding.promise}: {finding.place}" for finding in found)
    for call in calls:
        request_id = call.request.request_id
        effect = logged.pop(request_id, None)
        if call.answer is None:
            if effect is not None and not call.unanswered:
                yield f"{request_id}: answered UNAVAILABLE, and recorded as {effect}"
        elif effect != ("allow" if call.allowed else "deny"):
            yield f"{request_id}: answered, and recorded as {effect}"
        if call.answer is not None and call.allowed:
            yield from _wrong_hold(call, holds.get(call.answer.hold_id))
    for request_id in logged:
        yield f"{request_id}: recorded, and no client has made it"


def _wrong_hold(call: Call, row: sqlite3.Row | None) -> Iterator[str]:
    request_id = call.request.request_id
    if row is None or row["held"] != call.held_nano_usd:
        yield f"{request_id}: its hold is lost, or another: {row and dict(row)}"
    elif call.charged_nano_usd is not None and row["charged"] != call.charged_nano_usd:
        yield f"{request_id}: charged {call.charged_nano_usd}, recorded {row['charged']}"


_HOLDS = "SELECT hold_id, held_cost_nano_usd AS held, charged_cost_nano_usd AS charged FROM holds"
_DECISIONS = "SELECT request_id, effect FROM decision_log"
