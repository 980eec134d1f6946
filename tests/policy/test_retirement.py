"""Models that retire: a warning in answers before the day, and a denial from it on."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf import json_format
from support.authorizer_harness import AuthorizerHarness, codes
from support.commands import sidecar
from support.policies import MODELS, deny, minimal
from support.sidecar_process import chat, tester

from sidecar.domain.clock import to_us
from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError

OpenHarness = Callable[..., AuthorizerHarness]


def models(more: str) -> str:
    """Return the data with one more model, named old-1, with these lines."""
    return f"{MODELS}  old-1:\n    family: old\n    aliases: [old-latest]\n{more}"


RETIRES = models("    retires_on: 2026-11-30\n    replaced_by: small-latest\n")


@pytest.mark.parametrize(
    ("day", "reasons", "warnings"),
    [
        (datetime(2026, 11, 29, 23, 59, tzinfo=UTC), [], ["MODEL_RETIRES"]),
        (datetime(2026, 11, 30, tzinfo=UTC), ["MODEL_RETIRED"], []),
    ],
)
def test_a_model_is_denied_from_its_day_on_and_answers_warn_before(
    day: datetime,
    reasons: list[str],
    warnings: list[str],
    tmp_path: Path,
    open_harness: OpenHarness,
) -> None:
    """Both name the replacement; a call by an alias is no exception."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=RETIRES))
    harness.now_us = to_us(day)
    decision = harness.authorize(chat(tester(), model="old-latest"))
    assert codes(decision) == reasons
    assert [warning.code for warning in decision.warnings] == warnings
    (text,) = [one.message for one in decision.reasons or decision.warnings]
    assert "old-1" in text
    assert "2026-11-30" in text
    assert text.endswith("use small-latest")


def test_l3_a_repeat_is_the_same_decision_with_the_warnings_of_now(
    tmp_path: Path, open_harness: OpenHarness
) -> None:
    """Warnings are not recorded."""
    harness = open_harness(minimal(tmp_path / "p", models_yaml=RETIRES))
    harness.now_us = to_us(datetime(2026, 11, 1, tzinfo=UTC))
    first, again = (
        harness.authorize(chat(tester(), model="old-1", request_id="once")) for _ in range(2)
    )
    assert (first, again.replayed) == (again, True)
    assert again.warnings == first.warnings != ()


def test_a_rule_reads_when_a_model_retires(
    engine: str, tmp_path: Path, open_harness: OpenHarness
) -> None:
    """So that a set can stop earlier; a model without the day never does."""
    rule = deny('now + duration("720h") > model.retires_on')
    harness = open_harness(minimal(tmp_path / "p", models_yaml=RETIRES, soon=rule), engine=engine)
    harness.now_us = to_us(datetime(2026, 11, 10, tzinfo=UTC))
    assert codes(harness.authorize(chat(tester(), model="old-1"))) == ["NO"]
    assert codes(harness.authorize(chat(tester(), model="small-1"))) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small-lates", "no model is named 'small-lates'"),
        ("old-latest", "'old-latest' is this model itself"),
    ],
)
def test_a_replacement_has_to_be_another_model(name: str, expected: str, tmp_path: Path) -> None:
    """At its place in the file."""
    text = models(f"    retires_on: 2026-11-30\n    replaced_by: {name}\n")
    with pytest.raises(PolicyError, match=expected):
        policy_set.load(minimal(tmp_path / "p", models_yaml=text))


def test_explain_says_that_a_model_retires(tmp_path: Path) -> None:
    """As answers do; the exit code stays that of the decision."""
    policies, request = minimal(tmp_path / "p", models_yaml=RETIRES), tmp_path / "request.json"
    request.write_text(json_format.MessageToJson(chat(tester(), model="old-1")))
    code, out, err = sidecar(
        "explain", policies, "--request", request, "--at", "2026-11-01T00:00:00Z"
    )
    assert (code, err) == (0, "")
    assert "warning MODEL_RETIRES: model old-1 retires on 2026-11-30: use small-latest" in out
