"""A1: a model that is still called raises an alert before its retirement, and when it is denied."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.authorizer_harness import AuthorizerHarness, codes
from support.policies import MODELS, deny, limit, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.alerts import Alert
from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.windows import DAY_US, Window

OpenHarness = Callable[..., AuthorizerHarness]

RETIRES_US = to_us(datetime(2026, 12, 31, tzinfo=UTC))


def models(day: str = "2026-12-31", more: str = "    replaced_by: small-latest\n") -> str:
    """Return the data with one more model, old-1, that retires on this day."""
    return f"{MODELS}  old-1:\n    family: old\n    retires_on: {day}\n{more}"


def alerts_of(harness: AuthorizerHarness) -> list[Alert]:
    """Return the alerts that are due, in order."""
    due = harness.ledger.due("log", harness.now_us, 100)
    return sorted((one.alert for one in due), key=lambda alert: alert.raised_at_us)


def call(harness: AuthorizerHarness, at_us: int, model: str = "old-1") -> list[str]:
    """Decide a call at a time; return the codes of its reasons."""
    harness.now_us = at_us
    return codes(harness.authorize(chat(tester(), model=model)))


def test_a_model_still_called_alerts_once_in_each_period_and_once_when_denied(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A1: 30 days, 7 days and a day before, and from the day on; a restart raises none again."""
    policies, ledger = minimal(tmp_path / "p", models_yaml=models()), tmp_path / "l.sqlite"
    raised = []
    for days, new in ((31, []), (30, [30]), (29, []), (8, []), (7, [7]), (2, []), (1, [1]), (0, [0]), (-5, [])):  # fmt: skip
        raised += [("model_retires" if each else "model_retired", each) for each in new]
        for at_us in (RETIRES_US - days * DAY_US, RETIRES_US - days * DAY_US + SECOND_US):
            harness = open_harness(policies, ledger=ledger)
            assert call(harness, at_us) == ([] if days > 0 else ["MODEL_RETIRED"])
            found = alerts_of(harness)
            harness.close()
            assert [
                (alert.kind.value, (RETIRES_US - alert.window_start_us) // DAY_US)
                for alert in found
            ] == raised


def test_a_first_call_a_day_before_raises_one_alert(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A1: the periods that went by before it are not reported."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models()))
    call(harness, RETIRES_US - 1)
    call(harness, RETIRES_US - 1, "small-1")
    (alert,) = alerts_of(harness)
    assert (alert.window_start_us, alert.window_end_us) == (RETIRES_US - DAY_US, RETIRES_US)


@pytest.mark.parametrize(
    ("more", "end"), [("    replaced_by: small-latest\n", ": use small-latest"), ("", "")]
)
def test_an_alert_says_the_day_and_what_to_use(
    more: str, end: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A receiver finds the day in the window, and the replacement in a field of its own."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models(more=more)))
    call(harness, RETIRES_US - DAY_US)
    call(harness, RETIRES_US)
    before, after = alerts_of(harness)
    assert before.text() == f"model old-1 retires on 2026-12-31{end}; it is still called"
    assert after.text() == (
        f"model old-1 was retired on 2026-12-31{end}; it is still called, and denied"
    )
    bodies = [alert.document() for alert in (before, after)]
    assert [(one["window_start"], one["window_end"]) for one in bodies] == [
        ("2026-12-30T00:00:00Z", "2026-12-31T00:00:00Z"),
        ("2026-12-31T00:00:00Z", None),
    ]
    assert {one["replaced_by"] for one in bodies} == {end.removeprefix(": use ")}
    assert {one["scope"] for one in bodies} == {"old-1"}


@pytest.mark.parametrize("days", [1, 0], ids=["before the day", "after the day"])
def test_a_call_that_something_else_denies_raises_no_alert(
    days: int, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """It does not use the model: the alert stays for a call that does."""
    rules = {"not_ada": deny('principal.id == "ada"'), "few": limit("1", per="principal.id")}
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models(), **rules))
    harness.now_us = RETIRES_US - days * DAY_US
    assert "NO" in codes(harness.authorize(chat(tester(id="ada"), model="old-1")))
    assert alerts_of(harness) == []
    harness.authorize(chat(tester(id="bob"), model="small-1"))
    harness.authorize(chat(tester(id="bob"), model="old-1"))
    retired = [alert.kind.value for alert in alerts_of(harness) if alert.scope == "old-1"]
    assert retired == ([] if days else ["model_retired"])
    harness.authorize(chat(tester(id="eve"), model="old-1"))
    retired = [alert.kind.value for alert in alerts_of(harness) if alert.scope == "old-1"]
    assert retired == (["model_retires"] if days else ["model_retired"])


def test_each_model_has_its_own_alert(tmp_path: Path, open_harness: OpenHarness) -> None:
    """A1: also where two retire on one day; a model that stays has none."""
    more = models() + "  old-2:\n    family: old\n    retires_on: 2026-12-31\n"
    harness = open_harness(minimal(tmp_path / "p", models_yaml=more))
    for model in ("old-1", "old-2", "small-1", "old-1"):
        call(harness, RETIRES_US - DAY_US, model)
    assert [alert.scope for alert in alerts_of(harness)] == ["old-1", "old-2"]


def test_dry_runs_and_replays_raise_no_alert(tmp_path: Path, open_harness: OpenHarness) -> None:
    """A dry run changes nothing; a replay repeats a decision from before the period."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models()))
    request = chat(tester(), model="old-1", request_id="a")
    harness.now_us = RETIRES_US - 31 * DAY_US
    harness.authorize(request)
    harness.now_us = RETIRES_US - DAY_US
    assert harness.authorize(request).replayed
    harness.authorize(chat(tester(), model="old-1", dry_run=True))
    assert alerts_of(harness) == []


def test_a_retirement_that_is_put_off_alerts_again(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A1: another day is another alert."""
    ledger = tmp_path / "l.sqlite"
    for number, day in enumerate(("2026-12-31", "2027-01-02", "2026-12-31")):
        harness = open_harness(
            minimal(tmp_path / f"p{number}", models_yaml=models(day)), ledger=ledger
        )
        call(harness, RETIRES_US - 5 * DAY_US + number)
        found = [alert.window_end_us for alert in alerts_of(harness)]
        harness.close()
    assert found == [RETIRES_US, RETIRES_US + 2 * DAY_US]


def test_a_retirement_that_is_put_forward_alerts_again(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A1: also where the last 7 days before the new day begin when the last 30 of the old one did."""
    ledger, found = tmp_path / "l.sqlite", list[Alert]()
    for day in ("2026-12-31", "2026-12-08"):
        policies = minimal(tmp_path / day, models_yaml=models(day))
        harness = open_harness(policies, ledger=ledger)
        call(harness, RETIRES_US - 29 * DAY_US)
        found = alerts_of(harness)
        harness.close()
    assert [alert.window for alert in found] == [Window.MONTH, Window.WEEK]
    assert len({alert.window_start_us for alert in found}) == 1


def test_pruning_keeps_the_alert_of_a_retired_model(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """A1: a year later it is not raised again; those from before the day are gone."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models()))
    for at_us in (RETIRES_US - DAY_US, RETIRES_US):
        call(harness, at_us)
    later_us = RETIRES_US + 365 * DAY_US
    harness.run(harness.ledger.prune(later_us, DAY_US))
    call(harness, later_us)
    assert [alert.kind.value for alert in alerts_of(harness)] == ["model_retired"]


def test_calls_of_one_group_raise_one_alert(tmp_path: Path, open_harness: OpenHarness) -> None:
    """A1: for any number of decisions of one transaction."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=models()))
    harness.now_us = RETIRES_US - DAY_US

    async def together() -> None:
        calls = (chat(tester(), model="old-1") for _ in range(50))
        await asyncio.gather(*map(harness.authorizer.authorize, calls))

    harness.run(together())
    assert len(alerts_of(harness)) == 1
