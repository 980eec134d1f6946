"""`today` in rules: the date in the time zone of the budgets, for lists of days."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import sidecar as run
from support.policies import deny, minimal
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.authorization.request_evaluation import evaluate_request
from sidecar.domain.clock import to_us
from sidecar.policy import policy_set

CHRISTMAS = datetime(2026, 12, 25, tzinfo=UTC)
LISTS = f"lists:\n  holidays: [2026-05-01, {CHRISTMAS.date()}]\n"
HOLIDAY = deny('today in lists["holidays"]')
FIXTURE = """
tests:
- name: a call on Christmas Eve, when it is Christmas in Paris
  at: 2026-12-24T23:00:00Z
  steps:
  - authorize: {principal: {id: ada, role: tester, workspace: lab}, model: small-1}
    expect: {effect: deny, reasons: [NO]}
"""


@pytest.fixture
def holidays(tmp_path: Path) -> Path:
    """A set that denies every call on a holiday."""
    return minimal(tmp_path / "p", holiday=HOLIDAY, lists_yaml=LISTS)


@pytest.mark.property
@given(
    zone=st.sampled_from(sorted(available_timezones())).map(ZoneInfo),
    at=st.datetimes(datetime(2026, 12, 24), datetime(2026, 12, 27), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_today_is_the_date_that_the_clocks_show(
    zone: ZoneInfo, at: datetime, engine: str, holidays: Path
) -> None:
    """In any zone, to the microsecond, on both evaluators."""
    policy = policy_set.load(holidays, engine, zone=zone)
    for moment in (at, first_moment(zone), first_moment(zone) - timedelta(microseconds=1)):
        request = chat(tester(), model="small-1")
        reasons = evaluate_request(policy, request, to_us(moment), lambda *_: ()).reasons
        is_holiday = moment.astimezone(zone).date() == date(2026, 12, 25)
        assert [reason.code for reason in reasons] == (["NO"] if is_holiday else [])


def first_moment(zone: ZoneInfo) -> datetime:
    """Return when Christmas begins in a zone."""
    return CHRISTMAS.replace(tzinfo=zone).astimezone(UTC)


def test_fixtures_and_explanations_have_the_zone_of_the_sidecar(
    holidays: Path, tmp_path: Path
) -> None:
    """Both are in UTC by default, as the sidecar is."""
    (holidays / "x_test.yaml").write_text(FIXTURE)
    request = {
        "principal": {"id": "ada", "role": "tester", "workspace": "lab"},
        "model": "small-1", "estimate": {"inputTokens": 1, "maxOutputTokens": 1},
    }  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(request))
    explain = (
        "explain",
        holidays,
        "--request",
        tmp_path / "request.json",
        "--at",
        "2026-12-24T23:00:00Z",
    )
    paris = ("--time-zone", "Europe/Paris")
    assert [run("test", holidays, *zone)[0] for zone in ((), paris)] == [1, 0]
    assert [run(*explain, *zone)[0] for zone in ((), paris)] == [0, 1]
    code, _, err = run("test", holidays, "--time-zone", "Europe/Pariss")
    assert (code, "--time-zone Europe/Pariss: no such zone" in err) == (2, True)


def test_a_sidecar_knows_the_day_of_its_time_zone(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """Where it begins fourteen hours before that of UTC."""
    policies = minimal(tmp_path / "p", no=deny("true", message="it is {today}"))
    sidecar = start_sidecar(policies, "--time-zone", "Pacific/Kiritimati")
    zone = ZoneInfo("Pacific/Kiritimati")
    before = datetime.now(zone).date()
    (reason,) = sidecar.stub.Authorize(chat(tester(), model="small-1")).reasons
    assert reason.message in {f"it is {day}" for day in (before, datetime.now(zone).date())}
