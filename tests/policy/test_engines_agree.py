"""The two evaluators agree on every rule that is accepted, for every call the contract admits."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from mistral_spend.v1 import authorization_pb2 as pb
from support.expressions import CONDITION, DOUBLE, INT, TEXT, calls
from support.policies import deny, limit

from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine, EvaluationError
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import UNLIMITED_DOUBLE, Values
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.rules import RuleReader
from sidecar.v1 import policy_input_pb2 as policy_pb

CPP, PYTHON = CelCppEngine(), CelPythonEngine()
READERS = [
    RuleReader(ExpressionCompiler(engine, PYTHON, CPP, Largest([], limits=0)))
    for engine in (CPP, PYTHON)
]
EXAMPLES = settings().max_examples


def outcome(reader: RuleReader, engine: Engine, text: str, part: str, values: Values) -> Any:
    """Return the value of the rule's body or scope, "error", or "refused"."""
    rule, problems = reader.read("x.cel", text)
    if rule is None:
        return f"refused: {problems}"
    expression = rule.body if part == "body" else rule.terms.per
    try:
        return expression.program.evaluate(engine.bind(values))
    except EvaluationError:
        return "error"


def both(text: str, part: str, values: Values) -> tuple[Any, Any]:
    """Return what the two evaluators make of a rule."""
    return (
        outcome(READERS[0], CPP, text, part, values),
        outcome(READERS[1], PYTHON, text, part, values),
    )


@pytest.mark.property
@settings(max_examples=25 * EXAMPLES)
@given(CONDITION, calls())
def test_a_condition_has_the_same_value_on_both_engines(source: str, values: Values) -> None:
    """Every accepted condition gives the same bool, or fails on both."""
    first, second = both(deny(source), "body", values)
    assert first == second


@pytest.mark.property
@settings(max_examples=10 * EXAMPLES)
@given(INT | DOUBLE, calls())
def test_a_ceiling_has_the_same_value_on_both_engines(source: str, values: Values) -> None:
    """Numbers are equal to the last bit, and of one type; what overflows fails on both."""
    first, second = both(limit(source), "body", values)
    assert repr(first) == repr(second)


@pytest.mark.property
@settings(max_examples=5 * EXAMPLES)
@given(TEXT, calls())
def test_a_scope_has_the_same_value_on_both_engines(source: str, values: Values) -> None:
    """Texts are equal, or fail on both."""
    first, second = both(limit("5", per=source), "scope", values)
    assert first == second


def of_ada(labels: Mapping[str, str] | None = None, budget: float = 50.0) -> Values:
    """Return the values of a call of Ada's."""
    return Values(
        policy_pb.Request(tokens=1),
        pb.Principal(id="ada", labels=labels),
        policy_pb.Role(),
        policy_pb.Workspace(monthly_budget_usd=budget),
        policy_pb.Model(),
        policy_pb.Key(),
        datetime(2026, 11, 10, tzinfo=UTC),
        "2026-11-10",
        {},
    )


MANY = {f"l{n:02}": "x" for n in range(64)}

FAILING = [
    'principal.labels.exists(k, principal.labels["q"] == "ml")',
    'principal.labels.all(k, principal.labels["q"] == "ml")',
    'principal.labels.exists(k, "a" in workspace.services[k].allowed_models)',
    " || ".join(f'principal.labels["m{n}"] == "x"' for n in range(30)),
    " && ".join(f'principal.labels["m{n}"] == "x"' for n in range(30)),
]


@pytest.mark.parametrize("source", FAILING)
def test_errors_do_not_grow_with_their_number(source: str) -> None:
    """Celpy writes both operands' errors into one, twice as long each time; ours keeps the first."""
    both_fail = with_timeout("it", lambda: both(deny(source), "body", of_ada(labels=MANY)), 60)
    assert both_fail == ("error", "error")


ONCE_DIFFERED = [
    "request.tokens > 1000 && int(workspace.monthly_budget_usd) < 100",
    "int(workspace.monthly_budget_usd) < 100 || true",
    "workspace.monthly_budget_usd == unlimited",
    "workspace.monthly_budget_usd != unlimited",
    "workspace.monthly_budget_usd in [unlimited]",
    "(workspace.monthly_budget_usd == unlimited ? 10.0 : 5.0) > 7.0",
    "unlimited + 1.0 > 5.0",
    "unlimited * 0.5 == unlimited",
    "unlimited + request.tokens > 0",
    '(principal.id + "x").contains("x")',
]


@pytest.mark.parametrize("source", ONCE_DIFFERED)
@pytest.mark.parametrize("budget", [50.0, UNLIMITED_DOUBLE])
def test_expressions_that_once_differed_agree(source: str, budget: float) -> None:
    """Rules that people may well write."""
    first, second = both(deny(source), "body", of_ada(budget=budget))
    assert not str(first).startswith("refused")
    assert first == second
