"""What the books of a fleet promise, wherever they are: see sidecar/fleet/protocol.py."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fleet.places import CONCURRENT, MINUTE, PATIENT_SECONDS, TOTAL, FleetHolder, Place

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import (
    MARGIN_US,
    MAX_AHEAD_US,
    MAX_LATE_US,
    SILENT_US,
    BudgetKey,
    Demand,
    lapses_us,
)
from sidecar.domain.windows import MINUTE_US, Window
from sidecar.fleet.books import LIVE_US, MAX_SUM, SHORT_US
from sidecar.fleet.protocol import FencedError, FleetRefusedError, FleetUnreachableError, Item

HOUR_US = 60 * MINUTE_US


def test_a_need_is_granted_whole_or_not_at_all(place: Place) -> None:
    """G1: of 1000, 700 and 300 are granted, and between them no 301."""
    one, other = FleetHolder(place), FleetHolder(place)
    assert one.ask(700).share.granted == 700
    lacking = other.ask(301)
    assert (lacking.share.granted, lacking.share.room) == (0, 300)
    assert other.ask(300).share.granted == 300


def test_a_wish_takes_half_of_an_equal_part_of_the_room(place: Place) -> None:
    """The last of a budget goes to many: of 1000, two holders get 500, then 125."""
    one, other = FleetHolder(place), FleetHolder(place)
    assert one.ask(wish=1000).share.granted == 500
    assert other.ask(wish=1000).share.granted == 125
    assert other.ask(wish=1000).share.room == 1000 - 500 - 125 - 93


def test_what_is_given_back_makes_room(place: Place) -> None:
    """A share falls when its holder says so, and only then."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(1000)
    assert other.ask(1).share.others_free == 1000
    assert one.ask(have=400).share.granted == 400
    assert other.ask(600).share.granted == 600


def test_a_ceiling_of_one_budget_says_nothing_of_another(place: Place) -> None:
    """Each rule, meter, window, scope and start has its own shares; one exchange has many."""
    holder = FleetHolder(place)
    keys = [TOTAL, TOTAL._replace(scope="dev"), TOTAL._replace(rule="other"), MINUTE,
            TOTAL._replace(meter=Meter.TOKENS), CONCURRENT]  # fmt: skip
    answer = holder.tell(*(holder.item(1000, key=key) for key in keys))
    assert keys == [entry.key for entry in answer.entries]
    assert [entry.share.granted for entry in answer.entries] == [1000] * len(keys)


def test_a_repeat_changes_nothing_and_returns_the_state(place: Place) -> None:
    """G4: the answer was lost, and the same version is sent again; others went on meanwhile."""
    one, other = FleetHolder(place), FleetHolder(place)
    said = one.says(one.item(300, 200))
    first = place.run(one.books.exchange(said))
    before = place.granted(TOTAL)
    other.ask(100)
    again = place.run(one.books.exchange(said))
    assert again.entries[0].share.granted == first.entries[0].share.granted
    assert place.granted(TOTAL) == {**before, other.uid: 100}


def test_a_late_double_lowers_no_share(place: Place) -> None:
    """G3: the first answer is adopted, when the network brings the same exchange again."""
    one, other = FleetHolder(place), FleetHolder(place)
    said = one.says(one.item(wish=1000))
    place.run(one.send(said))
    other.ask(500)
    place.run(other.books.exchange(said))
    assert place.granted(TOTAL)[one.uid] == one.have[TOTAL] == 500


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"boot": 1}, "older than the fleet knows"),
        ({"nonce": "b"}, "another process serves a copy"),
        ({"version": 1}, "older than the fleet knows"),
        ({"boot": 3, "version": 1}, "older than the fleet knows"),
    ],
    ids=["lower start", "another process", "lower version", "a restored file, started again"],
)
def test_a_holder_that_another_has_replaced_is_fenced(
    place: Place, change: dict[str, Any], text: str
) -> None:
    """G5: an older or a copied ledger gets nothing, and changes nothing."""
    holder = FleetHolder(place)
    holder.boot = 2
    holder.ask(100)
    holder.ask(have=40)
    before = place.granted(TOTAL)
    with pytest.raises(FencedError, match=text):
        place.run(holder.books.exchange(holder.says(holder.item(500))._replace(**change)))
    assert place.granted(TOTAL) == before
    holder.boot, holder.nonce = 3, "c"
    assert holder.ask(100).share.granted == 140


def test_books_that_lost_commits_grant_nothing_until_holders_have_restated(place: Place) -> None:
    """G8: a version that skips ahead says that commits are lost. Shares are booked, none grow."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(100)
    other.ask(100)
    place.keep()
    one.ask(500)
    one.ask()
    place.lose()
    learning = one.tell(one.item())
    assert learning.is_learning
    assert place.granted(TOTAL)[one.uid] == 600
    closed = other.ask(300)
    assert (closed.share.granted, closed.is_closed) == (100, True)
    place.pass_us(10 * SECOND_US)
    assert not other.ask(301).is_closed
    assert other.ask(300).share.granted == 400


def test_another_server_makes_the_books_learn(place: Place) -> None:
    """G8: an asynchronous replica may lack what the old primary had committed."""
    holder = FleetHolder(place)
    assert not holder.tell(holder.item(100)).is_learning
    place.replace_server()
    first = holder.tell(holder.item(100))
    assert first.is_learning
    assert first.entries[0].share.granted == 100
    place.pass_us(10 * SECOND_US)
    second = holder.tell(holder.item(100))
    assert (second.is_learning, second.entries[0].share.granted) == (False, 200)


def test_a_server_that_another_has_replaced_is_not_believed(place: Place) -> None:
    """G8: the old primary is back, and knows nothing of what was granted since."""
    holder = FleetHolder(place)
    holder.ask(100)
    holder.timeline += 1
    with pytest.raises(FleetUnreachableError, match="another server has replaced that one"):
        holder.ask(100)
    assert place.granted(TOTAL) == {holder.uid: 100}


def test_what_was_used_from_before_is_booked_at_the_first_exchange(place: Place) -> None:
    """A ledger that joins has spent, also more than there is room for."""
    one, other = FleetHolder(place), FleetHolder(place)
    assert one.ask(spent=700).share.granted == 0
    over = other.ask(spent=390, held=10)
    assert (over.share.granted, over.share.room, over.share.others_spent) == (0, 0, 700)
    assert not other.ask(spent=390, held=10).is_short
    assert place.granted(TOTAL) == {one.uid: 0, other.uid: 0}


def test_an_overrun_takes_room_and_makes_no_share_larger(place: Place) -> None:
    """G1: in a sliding minute it ends, and a larger share would stay above the ceiling."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(600)
    over = one.ask(have=600, spent=900)
    assert (over.share.granted, over.share.room) == (600, 100)
    assert other.ask(101).share.granted == 0
    assert other.ask(100).share.granted == 100
    assert one.ask(have=600, spent=50).share.room == 300
    more = one.ask(100, have=600, spent=650)
    assert (more.share.granted, more.share.room) == (750, 150)


def test_figures_replace_the_last_of_the_same_holder(place: Place) -> None:
    """G10: what others have spent, hold and do not use is what they said last."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(500)
    one.ask(spent=10, held=20)
    one.ask(spent=100, held=50)
    seen = other.ask().share
    assert (seen.others_spent, seen.others_held, seen.others_free) == (100, 50, 350)


def test_an_adjustment_is_spent_by_all(place: Place) -> None:
    """G1: it takes room, or makes some; and counts as spent by others."""
    holder = FleetHolder(place)
    holder.ask(800)
    place.adjust(TOTAL, 150)
    seen = holder.ask(51).share
    assert (seen.granted, seen.room, seen.others_spent) == (800, 50, 150)
    place.adjust(TOTAL, -250)
    assert holder.ask(300).share.granted == 1100


def test_a_share_above_the_lowest_ceiling_says_so(place: Place) -> None:
    """Ceilings may differ: the share that 1000 allows is not for calls under 500."""
    one, other = FleetHolder(place), FleetHolder(place)
    assert one.ask(400, ceiling=500).share.ceiling == 500
    assert one.ask(400, ceiling=1000).share.ceiling == 1000
    lacking = other.ask(1, ceiling=500)
    assert (lacking.share.granted, lacking.share.room) == (0, 0)
    assert one.ask(have=100, ceiling=500).share.ceiling == 500


def test_others_are_told_that_one_lacks_room_and_it_is_not(place: Place) -> None:
    """They give back what they do not use; for a moment, since it may have gone elsewhere."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(900)
    assert not other.ask(200).is_short
    assert one.ask().is_short
    place.pass_us(SHORT_US)
    assert not one.ask().is_short


@pytest.mark.parametrize("key", [MINUTE, CONCURRENT], ids=["minute", "concurrent"])
def test_a_timeless_share_lapses_with_the_silence_of_its_holder(
    place: Place, key: BudgetKey
) -> None:
    """At the time that domain/sharing.py says, and 2 s before it still counts."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(1000, key=key)
    until_us = lapses_us(key.window, 0, 0)
    assert until_us is not None
    if not_real := key.window is Window.MINUTE:
        assert until_us == SILENT_US + MARGIN_US + MINUTE_US
    assert not_real or until_us == SILENT_US + MARGIN_US
    place.pass_us(until_us - 2 * SECOND_US)
    assert other.ask(1, key=key).share.granted == 0
    place.pass_us(2 * SECOND_US)
    assert other.ask(1000, key=key).share.granted == 1000


def test_open_holds_keep_a_concurrent_share(place: Place) -> None:
    """A call of a silent holder may run until its hold expires."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(1000, key=CONCURRENT, busy_us=HOUR_US)
    place.pass_us(HOUR_US - 2 * SECOND_US)
    assert other.ask(1, key=CONCURRENT).share.granted == 0
    place.pass_us(2 * SECOND_US + MARGIN_US)
    assert other.ask(1, key=CONCURRENT).share.granted == 1


def test_no_calendar_share_is_taken_back_because_of_time(place: Place) -> None:
    """G6, G7: what is left of it may have been spent by a holder that nobody hears."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(1000)
    place.pass_us(10_000 * HOUR_US)
    lacking = other.ask(1).share
    assert (lacking.granted, lacking.others_free) == (0, 1000)


@pytest.mark.parametrize("key", [MINUTE, CONCURRENT], ids=["minute", "concurrent"])
def test_a_holder_that_was_silent_is_granted_its_timeless_share_anew(
    place: Place, key: BudgetKey
) -> None:
    """G1: it still has the share on its disk, and another has it too: it asks like all others."""
    one, other = FleetHolder(place), FleetHolder(place)
    one.ask(1000, key=key)
    place.pass_us(HOUR_US)
    other.ask(700, key=key)
    assert one.ask(key=key).share.granted == 0
    assert one.ask(300, key=key).share.granted == 300
    place.pass_us(HOUR_US)
    assert one.ask(key=key).share.granted == 0


def test_a_repeat_after_a_silence_does_not_bring_a_lapsed_share_back(place: Place) -> None:
    """G1: the answer was lost, and the holder could not ask again for an hour."""
    one, other = FleetHolder(place), FleetHolder(place)
    said = one.says(one.item(1000, key=MINUTE))
    place.run(one.books.exchange(said))
    place.pass_us(HOUR_US)
    other.ask(700, key=MINUTE)
    assert place.run(one.send(said)).entries[0].share.granted == 0
    assert place.granted(MINUTE) == {one.uid: 0, other.uid: 700}


def test_a_repeat_renews_a_timeless_share(place: Place) -> None:
    """Its holder counts its silence from when it sent what was answered: the repeat."""
    one, other = FleetHolder(place), FleetHolder(place)
    said = one.says(one.item(1000, key=MINUTE))
    place.run(one.books.exchange(said))
    place.pass_us(80 * SECOND_US)
    assert place.run(one.send(said)).entries[0].share.granted == 1000
    place.pass_us(80 * SECOND_US)
    assert other.ask(1, key=MINUTE).share.granted == 0


@pytest.mark.parametrize(
    ("start_us", "end_us", "granted"),
    [
        (MAX_AHEAD_US + 10 * SECOND_US, HOUR_US, 0),
        (MAX_AHEAD_US - 10 * SECOND_US, HOUR_US, 10),
        (-HOUR_US, -MAX_LATE_US - SECOND_US, 0),
        (-HOUR_US, -MAX_LATE_US + 20 * SECOND_US, 10),
    ],
    ids=["too early", "soon", "over", "just over"],
)
def test_shares_are_of_windows_that_are_open_by_the_books_clock(
    place: Place, start_us: int, end_us: int, granted: int
) -> None:
    """L9: a pod whose clock is wrong opens no window; what it has used is booked all the same."""
    holder, now_us = FleetHolder(place), place.now_us()
    key = BudgetKey("hourly", Meter.COST, Window.HOUR, "ml", now_us + start_us)
    entry = holder.ask(10, key=key, end_us=now_us + end_us)
    assert (entry.share.granted, entry.is_closed) == (granted, granted == 0)
    holder.ask(key=key, end_us=now_us + end_us, spent=77)
    assert FleetHolder(place).ask(key=key, end_us=now_us + end_us).share.others_spent == 77


def test_holders_are_those_of_the_last_minute(place: Place) -> None:
    """The size of the fleet says how large a wish is, and how often it exchanges."""
    for holders in (1, 2, 3):
        assert FleetHolder(place).tell().holders == holders
    place.pass_us(LIVE_US)
    assert FleetHolder(place).tell().holders == 1


@pytest.mark.parametrize(
    "name",
    ["", "it's", '"; DROP TABLE fleet_share; --', "é€😀\u202e", "%s $1 {0} \\", "a\0b", "n" * 256],
    ids=["empty", "quote", "SQL", "unicode", "places", "NUL", "long"],
)
def test_names_are_any_text(place: Place, name: str) -> None:
    """A scope is what a caller says of itself."""
    one, other = FleetHolder(place, name=name), FleetHolder(place)
    key = TOTAL._replace(rule=f"r{name}".replace("\0", ""), scope=name)
    assert one.ask(10, key=key).share.granted == 10
    assert other.ask(990, key=key).share.granted == 990
    assert other.ask(10, key=key._replace(scope=name + "x")).share.granted == 10


def test_large_numbers_do_not_overflow(place: Place) -> None:
    """L7: sums of what many hold stay int64."""
    most = 4 * 10**18
    holders = [FleetHolder(place) for _ in range(4)]
    for holder in holders:
        holder.ask(spent=most, held=most, ceiling=10**18)
    place.adjust(TOTAL, most)
    seen = holders[0].ask(1, spent=most, held=most, ceiling=10**18).share
    assert (seen.others_spent, seen.others_held, seen.others_free) == (MAX_SUM, MAX_SUM, 0)
    assert (seen.granted, seen.room) == (0, 0)


def test_books_of_another_fleet_or_zone_are_refused(place: Place) -> None:
    """Windows that begin at other times are not the same budgets."""
    holder = FleetHolder(place)
    holder.ask(10)
    elsewhere = FleetHolder(place)
    elsewhere.time_zone = "Europe/Paris"
    with pytest.raises(FleetRefusedError, match=r"time zone UTC.*--time-zone UTC"):
        elsewhere.ask(10)
    holder.fleet_id = "another"
    with pytest.raises(FleetRefusedError, match="in another fleet than these books"):
        holder.ask(10)
    assert place.granted(TOTAL) == {holder.uid: 10}


def test_an_exchange_without_items_answers(place: Place) -> None:
    """A holder that has no budget yet counts, and learns the time and the fleet."""
    answer = FleetHolder(place).tell()
    assert answer.entries == []
    assert abs(answer.now_us - place.now_us()) < PATIENT_SECONDS * SECOND_US
    assert answer.fleet_id


def test_concurrent_holders_never_have_more_than_the_ceiling(place: Place) -> None:
    """G1: eight ask at once for two budgets that two of them fill, and give back what they get."""
    ceiling, need, clients, rounds = 1000, 480, 8, 16
    keys = (TOTAL, TOTAL._replace(scope="dev"))
    holders = [FleetHolder(place) for _ in range(clients)]

    async def work(holder: FleetHolder, order: Sequence[BudgetKey]) -> None:
        for _ in range(rounds):
            gives_back = any(holder.have.values())
            items = (
                holder.item(have=0, key=key) if gives_back else holder.item(need, 50, key=key)
                for key in order
            )
            answer = await holder.send(holder.says(*items))
            for entry in answer.entries:  # nobody has used any
                assert entry.share.granted + entry.share.others_free <= ceiling

    async def all_at_once() -> None:
        orders = (keys, keys[::-1]) * clients
        await asyncio.gather(*map(work, holders, orders))

    place.run(all_at_once())
    for key in keys:
        shares = place.granted(key)
        assert shares == {holder.uid: holder.have[key] for holder in holders}
        assert sum(shares.values()) <= ceiling


def test_a_first_exchange_that_is_doubled_is_applied_once(place: Place) -> None:
    """G4: a client that lost its connection repeats what the server is still at."""
    holder, double = FleetHolder(place, "same"), FleetHolder(place, "same")
    said = holder.says(Item(TOTAL, 2**62, 1000, Demand(0, 0, 0, 10, 400)))

    async def twice() -> list[int]:
        answers = await asyncio.gather(holder.books.exchange(said), double.books.exchange(said))
        return [answer.entries[0].share.granted for answer in answers]

    assert place.run(twice()) == [410, 410]
