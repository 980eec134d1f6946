"""The two evaluators agree on every rule that is accepted, for every call the contract admits."""

from typing import Any

import pytest
from hypothesis import given, settings
from support.expressions import CONDITION, DOUBLE, INT, TEXT, calls

from sidecar.policy.cel_cpp import CelCppEngine
from sidecar.policy.cel_python import CelPythonEngine
from sidecar.policy.engine import Engine, EvaluationError, Kind, Program
from sidecar.policy.rules import RuleReader
from sidecar.policy.sizes import Largest
from sidecar.policy.variables import Values

CPP, PYTHON = CelCppEngine(), CelPythonEngine()
READERS = [RuleReader(engine, PYTHON, CPP, Largest([], limits=0)) for engine in (CPP, PYTHON)]
EXAMPLES = settings().max_examples
HEADER = "// METADATA\n// effect: deny\n// owner: a@b\n// reason: NO\n// http_status: 403\n// message: no\n"


def outcome(engine: Engine, program: Program, values: Values) -> Any:
    """Return the value, or "error"."""
    try:
        return program.evaluate(engine.bind(values))
    except EvaluationError:
        return "error"


def both(source: str, kind: Kind, values: Values) -> tuple[Any, Any]:
    """Return what the two evaluators make of an expression."""
    return (
        outcome(CPP, CPP.compile(source, kind), values),
        outcome(PYTHON, PYTHON.compile(source, kind), values),
    )


@pytest.mark.property
@settings(max_examples=25 * EXAMPLES)
@given(CONDITION, calls())
def test_a_condition_is_the_same_on_both(source: str, values: Values) -> None:
    """Whatever is accepted gives the same bool, or fails on both."""
    read = [reader.read("x.cel", HEADER + source)[1] for reader in READERS]
    assert read[0] == read[1]
    if not read[0]:
        first, second = both(source, Kind.CONDITION, values)
        assert first == second


@pytest.mark.property
@settings(max_examples=10 * EXAMPLES)
@given(INT | DOUBLE, calls())
def test_a_ceiling_is_the_same_on_both(source: str, values: Values) -> None:
    """Numbers are equal to the last bit, and of one type; what overflows fails on both."""
    first, second = both(source, Kind.CEILING, values)
    assert (type(first), repr(first)) == (type(second), repr(second))


@pytest.mark.property
@settings(max_examples=5 * EXAMPLES)
@given(TEXT, calls())
def test_a_scope_is_the_same_on_both(source: str, values: Values) -> None:
    """Texts are equal, or fail on both."""
    first, second = both(source, Kind.SCOPE, values)
    assert first == second
