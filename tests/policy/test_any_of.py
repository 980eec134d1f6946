"""A disjunction of conditions never hides one that is true or fails."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.policies import deny, minimal

from sidecar.policy import policy_set
from sidecar.policy.any_of import AnyOf
from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine
from sidecar.policy.cel.variables import values_of
from sidecar.v1 import policy_input_pb2 as policy_pb

VALUES = values_of(policy_pb.Role(), policy_pb.Workspace(), policy_pb.Model())
FALSE = ("false", "request.tokens > 5", "false // || true", "request.model == 'x' && request.batch")
TRUE = ("request.tokens == 0", "true // says one", "!request.batch")
FAILS = ("1 / request.tokens > 0", "principal.labels['team'] == 'x' // no such label")


def none(engine: Engine, *conditions: str) -> bool:
    """Return whether none of the conditions is true."""
    return AnyOf(engine, conditions).none(engine.bind(VALUES))


@given(st.lists(st.sampled_from(FALSE + TRUE + FAILS), max_size=40))
def test_none_is_true_only_if_every_condition_is_false(conditions: list[str]) -> None:
    """For any mixture in any order, with comments at the end; and always then."""
    assert none(CelCppEngine(), *conditions) == set(conditions).issubset(FALSE)


@pytest.mark.parametrize("odd", TRUE + FAILS)
def test_one_true_condition_of_many_is_found_at_any_position(odd: str) -> None:
    """Also among so many that they do not fit into one expression."""
    many = [f"request.tokens > {number} && request.batch" for number in range(1000)]
    engine = CelCppEngine()
    assert none(engine, *many)
    for place in (0, 499, 999):
        assert not none(engine, *many[:place], odd, *many[place:])


def test_conditions_that_cannot_be_joined_are_evaluated_one_by_one() -> None:
    """A joined expression that nests too deeply gives no result."""
    deep = "!" * 200 + "false"
    engine = CelCppEngine()
    assert none(engine, "false")
    assert not none(engine, *["(" * 90 + deep + ")" * 90] * 2)


def test_ints_and_doubles_of_unlimited_are_evaluated_together(tmp_path: Path) -> None:
    """`unlimited` is an int in one rule and a double in another, so they are separate expressions."""
    files = {
        "as_int": deny("request.tokens == unlimited"),
        "as_double": deny("workspace.monthly_budget_usd == unlimited && request.batch"),
    }
    policy = policy_set.load(minimal(tmp_path / "p", **files))
    binding = policy.engine.bind(VALUES)
    assert [one.none(binding) for one in policy.request_denials] == [True, True]


def test_conditions_are_not_joined_for_cel_python() -> None:
    """It is not faster with them joined."""
    assert not none(CelPythonEngine(), "false")
