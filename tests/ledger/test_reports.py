"""Reports of a real ledger, against sums made without it."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.operator_ledger import DAY, HOUR, MINUTE, NOON, OperatorLedger, operator_ledger
from support.reservations import limit, reservation

from sidecar.domain.clock import format_date, to_us
from sidecar.domain.decisions import Effect, Meter
from sidecar.domain.retirement import Retirement
from sidecar.domain.spend_report import Dimension, Spend
from sidecar.domain.windows import Span, Window
from sidecar.ledger import ledger_file
from sidecar.ledger.spend_sums import last_before
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.ledger.time_correction import correct_time

WEEK = Span(NOON - 6 * DAY, NOON)
MONTH = limit(10**9, Meter.COST, Window.MONTH, rule="monthly")
DAILY = limit(10_000, Meter.TOKENS, Window.DAY, rule="daily")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[OperatorLedger]:
    """A ledger to fill."""
    with operator_ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("names", ["", "workspace", "model,day", "key,principal,role", "day"])
def test_spend_is_the_sum_of_settled_and_expired_calls(
    kept: OperatorLedger, names: str, zone: str
) -> None:
    """By any dimensions, of any days, in any zone: calls, tokens, cost, overruns, expiries."""
    by = [Dimension(name) for name in names.split(",") if name]
    reports_days = kept.reports(zone=ZoneInfo(zone)).calendar.days(WEEK)
    expected: dict[tuple[str, ...], Counter[str]] = {}
    chance = random.Random(names)  # noqa: S311 - an example
    at_us = NOON - 9 * DAY
    while at_us < NOON:
        call = {
            "workspace": chance.choice(["lab", "shop"]),
            "role": chance.choice(["tester", "clerk"]),
            "principal_id": chance.choice(["ada", "bo", "cy"]),
            "key_id": chance.choice(["", "key-1"]),
            "model_id": chance.choice(["small-1", "large-1"]),
        }
        how, tokens = (
            chance.choice(["settle", "over", "expire", "release", "open"]),
            chance.randint(1, 999),
        )
        if how in {"settle", "over"}:
            kept.spend(at_us, tokens=tokens, held=tokens - (how == "over"), **call)
        else:
            hold = kept.hold(
                at_us, tokens=tokens, ttl_us=MINUTE if how == "expire" else 30 * DAY, **call
            )
            if how == "release":
                kept.release(hold, at_us)
            kept.expire(at_us + MINUTE)
        if how in {"settle", "over", "expire"} and at_us >= reports_days[0].start_us:
            call |= {
                "principal": call["principal_id"],
                "key": call["key_id"],
                "model": call["model_id"],
            }
            call["day"] = format_date(at_us, ZoneInfo(zone))
            group = expected.setdefault(tuple(call[name] for name in by), Counter())
            group.update({"calls": 1, "tokens": tokens, how: 1, call["day"]: tokens * 1000})
        at_us += chance.randint(1, 4 * HOUR)
    report = kept.reports(zone=ZoneInfo(zone)).report(by, WEEK)
    assert {row.names: row.calls for row in report.rows} == {
        k: n["calls"] for k, n in expected.items()
    }
    for row in report.rows:
        group = expected[row.names]
        assert (row.input_tokens, row.output_tokens) == (0, group["tokens"])
        assert (row.cost_nano_usd, row.overruns) == (group["tokens"] * 1000, group["over"])
        assert row.expired == group["expire"]
        assert row.daily_cost_nano_usd == tuple(group[day] for day in report.dates)
    assert report.total.calls == sum(group["calls"] for group in expected.values()) > 0
    assert report.total.cost_nano_usd == sum(row.cost_nano_usd for row in report.rows)


def test_by_rule_a_call_counts_for_each_of_its_limits_and_once_in_total(
    kept: OperatorLedger,
) -> None:
    """A call that no limit counts is there, too, under no name."""
    kept.spend(NOON, MONTH, DAILY, tokens=5)
    kept.spend(NOON, MONTH, tokens=2)
    kept.spend(NOON, tokens=1)
    report = kept.reports().report([Dimension.RULE], WEEK)
    found = [(row.names[0], row.calls, row.cost_nano_usd) for row in report.rows]
    assert found == [("monthly", 2, 7000), ("daily", 1, 5000), ("", 1, 1000)]
    assert (report.total.calls, report.total.cost_nano_usd) == (3, 8000)
    assert [row.share(report.total) for row in report.rows] == ["87.5 %", "62.5 %", "12.5 %"]


def test_spend_reads_the_rows_of_its_days_alone(kept: OperatorLedger) -> None:
    """The rows of a ledger are in the order of time, with gaps where denials and prunings are."""
    starts = []
    for hours in range(0, 24 * 12, 7):
        kept.spend(NOON - 12 * DAY + hours * HOUR, tokens=1)
        kept.decide(reservation(NOON - 12 * DAY + hours * HOUR, limit(0), tokens=1))
        starts.append(NOON - 12 * DAY + hours * HOUR)
    kept.run(kept.ledger.prune(NOON, 8 * DAY))
    with closing(ledger_file.open_reader(kept.path)) as connection:
        rows = connection.execute("SELECT id, decided_at_us FROM decisions").fetchall()
        assert len(rows) < len(starts)
        for at_us in [0, *(start + off for start in starts for off in (0, 1)), NOON + DAY]:
            before = last_before(connection, at_us)
            assert {row for row, _ in rows if row > before} == {
                row for row, decided_us in rows if decided_us >= at_us
            }
    days = kept.reports().calendar.days(WEEK)
    found = {day: sum(row.calls for row in kept.reports().spend([], [day])) for day in days}
    assert found == {
        day: sum(day.start_us <= start < day.end_us for start in starts) for day in days
    }


def test_spend_is_right_after_a_correction_of_the_time(kept: OperatorLedger) -> None:
    """Rows are not in the order of time any more."""
    kept.spend(NOON, tokens=1)
    kept.run(kept.ledger.close())
    correct_time(kept.path, NOON - 4 * DAY, "ada", "a wrong clock", lambda _: None)
    kept.ledger = SqliteLedger(kept.path)
    for at_us in (NOON - 3 * DAY, NOON - 3 * DAY, NOON - 3 * DAY, NOON):
        kept.spend(at_us, tokens=1)
    spent = kept.reports().spend([], kept.reports().calendar.days(Span(NOON - DAY, NOON)))
    assert [row.calls for row in spent] == [2]


def test_a_ledger_without_calls_has_a_report_of_nothing(kept: OperatorLedger) -> None:
    """No row, no budget, and a total of 0."""
    report = kept.reports().report([Dimension.MODEL], WEEK)
    assert (report.rows, report.forecasts) == ((), ())
    assert report.total == Spend((), (0,) * 7, 0, 0, 0, 0, 0, 0, 0)
    assert report.total.share(report.total) == ""


def test_a_report_is_of_one_moment(kept: OperatorLedger) -> None:
    """L2: a report is one snapshot; later writes are in no part of it."""
    kept.spend(NOON, MONTH)
    reports = kept.reports()
    kept.spend(NOON, MONTH)
    report = reports.report([Dimension.MODEL], WEEK)
    (forecast,) = report.forecasts
    assert (report.total.calls, forecast.spent) == (1, report.total.cost_nano_usd)


def test_a_report_names_the_models_that_were_spent_on_and_retire(kept: OperatorLedger) -> None:
    """As the data files had it at the latest decision, not for a model without spend."""
    kept.spend(NOON - 8 * DAY, model_id="past-1", retirement=Retirement("past-1", NOON + DAY))
    soon, later = Retirement("old-1", NOON + DAY, "new-1"), Retirement("old-2", NOON + 2 * DAY)
    for one in (later, soon):
        kept.spend(NOON, model_id=one.model_id, retirement=one)
    kept.hold(NOON, model_id="held-1", retirement=Retirement("held-1", NOON + DAY))
    kept.spend(NOON)
    assert kept.reports().report([], WEEK).retirements == (soon, later)
    put_off = later._replace(replaced_by="new-2")
    kept.hold(NOON, model_id="old-1", retirement=None)
    kept.hold(NOON, model_id="old-2", retirement=put_off)
    assert kept.reports().report([], WEEK).retirements == (put_off,)


def test_a_row_that_counts_beyond_its_recorded_end_is_reported(tmp_path: Path) -> None:
    """L1: a month that the old zone has ended is the new one's still, as for decisions."""
    path, end = tmp_path / "ledger.sqlite", to_us(datetime(2100, 3, 31, 23, 30, tzinfo=UTC))
    with operator_ledger(path, ZoneInfo("Europe/London")) as kept:
        kept.spend(end - HOUR, limit(900, window=Window.MONTH), tokens=300)
    with operator_ledger(path) as kept:
        (one,) = kept.reports(end).forecasts()
        (curve,) = kept.reports(end).curves([one])
    assert (one.spent, one.span.end_us, curve[-1].spent) == (300, end + HOUR // 2, 300)


def test_each_open_budget_with_a_ceiling_has_a_forecast(kept: OperatorLedger) -> None:
    """Of hours, days and months; not of ended or sliding windows, or without a ceiling."""
    over = limit(10**6, Meter.COST, Window.HOUR, rule="hourly")
    others = [limit(None, rule="free"), limit(9, Meter.REQUESTS, Window.MINUTE, rule="minute")]
    others.append(limit(9, Meter.REQUESTS, Window.CONCURRENT, rule="concurrent"))
    kept.spend(NOON - 25 * HOUR, MONTH, DAILY, over, tokens=40)
    kept.spend(NOON - 2 * HOUR, MONTH, DAILY, *others, tokens=50)
    kept.spend(NOON - 4 * HOUR, MONTH, DAILY, tokens=60)
    kept.hold(NOON, MONTH, DAILY, tokens=70)
    found = {one.limit.rule: one for one in kept.reports().forecasts()}
    assert found.keys() == {"monthly", "daily"}
    monthly, daily = found["monthly"], found["daily"]
    assert (monthly.spent, monthly.held, monthly.ceiling) == (150_000, 70_000, 10**9)
    assert (monthly.recent, monthly.recent_us) == (110_000, 24 * HOUR)
    assert (daily.spent, daily.held, daily.recent, daily.recent_us) == (110, 70, 110, 3 * HOUR)


def test_the_ledgers_time_is_that_of_its_last_decision_if_the_clock_is_behind(
    kept: OperatorLedger,
) -> None:
    """L9: the window that is enforced is the one that is reported."""
    kept.spend(NOON, DAILY)
    assert kept.reports(NOON - 9 * DAY).at_us == NOON
    assert [one.spent for one in kept.reports(NOON - 9 * DAY).forecasts()] == [100]
    assert kept.reports(NOON + 9 * DAY).forecasts() == []


def test_rows_of_two_calendars_are_one_budget(tmp_path: Path) -> None:
    """A change of the time zone within a window neither splits a budget nor grants it twice."""
    path, zone = tmp_path / "ledger.sqlite", ZoneInfo("Asia/Kolkata")
    with operator_ledger(path) as kept:
        kept.spend(NOON, limit(900, rule="daily"), tokens=300)
    with operator_ledger(path, zone) as kept:
        kept.spend(NOON + HOUR, limit(800, rule="daily"), tokens=200)
        (one,) = kept.reports(NOON + HOUR, zone).forecasts()
        (curve,) = kept.reports(NOON + HOUR, zone).curves([one])
    assert (one.spent, one.ceiling, one.recent) == (500, 800, 500)
    assert curve[-1] == (NOON + HOUR, 500)


def test_a_budget_that_refuses_calls_says_when_it_last_did(kept: OperatorLedger) -> None:
    """A refusal by one limit is not laid at another's door, or at another scope's."""
    shop = limit(10_000, Meter.TOKENS, Window.DAY, "shop", rule="daily")
    kept.spend(NOON - HOUR, MONTH, DAILY, shop, tokens=9_990)
    for at_us in (NOON - 40 * MINUTE, NOON - 30 * MINUTE):
        decision = kept.decide(reservation(at_us, MONTH, DAILY))
        assert decision.effect is Effect.DENY
    found = {
        (one.limit.rule, one.limit.scope): one.refused_at_us for one in kept.reports().forecasts()
    }
    assert found == {
        ("monthly", "lab"): None,
        ("daily", "lab"): NOON - 30 * MINUTE,
        ("daily", "shop"): None,
    }


def test_a_curve_grows_to_what_is_spent_when_it_was_charged(kept: OperatorLedger) -> None:
    """From 0 at the window's start to the row's own figure now, in bounded steps."""
    for number in range(300):
        kept.spend(NOON - 10 * HOUR + number * MINUTE, DAILY, tokens=number % 7)
    reports = kept.reports()
    (one,) = reports.forecasts()
    (curve,) = reports.curves([one], steps=24)
    assert (curve[0], curve[-1]) == ((NOON - 12 * HOUR, 0), (NOON, one.spent))
    by_hour = [sum(n % 7 for n in range(60 * hour)) for hour in range(6)]
    assert curve[1:-1] == [(NOON - (10 - h) * HOUR, by_hour[h]) for h in range(1, 6)]


def test_adjustments_count_as_spent_but_not_as_pace(kept: OperatorLedger) -> None:
    """They are steps of the curve, which a grant may take below 0; spend by call has none."""
    kept.spend(NOON - 3 * HOUR, DAILY, tokens=100)
    kept.adjust("daily", "lab", -150, NOON - 2 * HOUR)
    kept.adjust("daily", "lab", 70, NOON - HOUR)
    reports = kept.reports()
    report = reports.report([Dimension.RULE], WEEK)
    (one,) = report.forecasts
    assert (one.spent, one.recent, report.total.output_tokens) == (20, 100, 100)
    (curve,) = reports.curves([one])
    assert [point.spent for point in curve] == [0, 100, -50, 20, 20]


def test_the_days_of_a_report_are_those_of_the_zone(kept: OperatorLedger) -> None:
    """A call just after midnight in Kolkata is a day later there than in UTC."""
    kept.spend(NOON + 7 * HOUR, tokens=1)
    days = []
    for zone in (UTC, ZoneInfo("Asia/Kolkata")):
        (row,) = kept.reports(zone=zone).report([Dimension.DAY], Span(NOON, NOON + DAY)).rows
        days.append(row.names[0])
    assert days == ["2100-11-10", "2100-11-11"]
