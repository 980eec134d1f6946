"""The bound on evaluation steps: expensive rules are refused when they load."""

from pathlib import Path

import pytest
from hypothesis import given
from support.expressions import TEXT, calls
from support.policies import ROLES, deny, minimal

from sidecar.policy import policy_set
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import CelError, EvaluationError, ResultKind
from sidecar.policy.cel.evaluation_steps import MAX_STEPS, check, estimate
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import Values
from sidecar.policy.files.problems import PolicyError
from sidecar.v1 import policy_input_pb2 as policy_pb

PYTHON = CelPythonEngine()

ENTRIES = [
    policy_pb.Role(allowed_models=[f"mistral-model-{n}" for n in range(40)]),
    policy_pb.Model(names=["mistral-small-2603", "mistral-small-latest", "mistral-small"]),
]
DOUBLED = ".map(x, x + x)" * 24
BOMBS = {
    "a text that doubles": (
        f'["ab"]{DOUBLED} == ["ab"]',
        "may take 4,194,405 steps; the maximum is 10,000",
        "`x + x` takes 2,097,153 by itself: its strings may be long",
    ),
    "a list that doubles": (f"[[1]]{DOUBLED} == [[1]]", "may take ", "`x + x` takes"),
    "a text that grows beyond any number": (
        '["ab"]' + ".map(x, x + x + x + x + x + x)" * 20 + ' == ["ab"]',
        "may take more than 10^12 steps", "by itself",
    ),
    "loops in loops over labels": (
        "principal.labels.all(a, principal.labels.exists(b, a == b))",
        "may take ",
        "`principal.labels` has up to 64 items, and for each, `principal.labels` has up to 64 items",
    ),
    "three short loops in each other": (
        "[1,2,3,4,5,6,7,8,9,10,11,12].all(a, [1,2,3,4,5,6,7,8,9,10,11,12].all(b, "
        "[1,2,3,4,5,6,7,8,9,10,11,12].all(c, a + b + c > 0)))",
        "may take ", "has up to 12 items, and for each, ",
    ),
    "a pattern with too many states on a text of the caller's": (
        'principal.labels["team"].matches("(a?b?c?d?){500}e")',
        "may take ", "by itself: its strings may be long",
    ),
    "a long text searched for another, for each label": (
        "principal.labels.all(k, "
        f"({' + '.join(['principal.id'] * 20)}).contains(principal.id + principal.labels[k]))",
        "may take ", "…` takes 10,241 by itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "message", "cause"), BOMBS.values(), ids=BOMBS)
def test_an_expensive_expression_is_refused_with_its_most_expensive_part(
    source: str, message: str, cause: str
) -> None:
    """The error names the part, its size and its loops."""
    with pytest.raises(CelError) as caught:
        check(PYTHON.parse(source), source, Largest(ENTRIES, limits=3))
    assert message in caught.value.message
    assert cause in caught.value.hint


@pytest.mark.parametrize("source", [bomb[0] for bomb in BOMBS.values()], ids=BOMBS)
def test_no_bomb_is_part_of_a_policy_set(source: str, tmp_path: Path) -> None:
    """A rule above the bound of steps does not load, so it is never evaluated."""
    with pytest.raises(PolicyError):
        policy_set.load(minimal(tmp_path, bomb=deny(source)))


def test_thousands_of_operators_are_refused() -> None:
    """Also on a machine without cel-cpp."""
    source = " + ".join(["1"] * 4000) + " > 0"
    with pytest.raises(CelError, match="too many operators in a row"):
        check(PYTHON.parse(source), source, Largest([], limits=0))


def test_the_sizes_are_those_of_the_data_files(tmp_path: Path) -> None:
    """The same rule is fine on short lists, and refused when a list has grown."""
    rule = deny("role.allowed_models.all(a, role.allowed_models.exists(b, a == b))")
    policy_set.load(minimal(tmp_path / "short", pairs=rule))
    long = ROLES.replace('["*"]', str([f"m{n}" for n in range(60)]))
    with pytest.raises(
        PolicyError, match=r"`role.allowed_models` has up to 60 items, and for each"
    ):
        policy_set.load(minimal(tmp_path / "long", pairs=rule, roles_yaml=long))


@pytest.mark.parametrize(
    "source",
    [
        "role.allowed_models.all(m, model.names.exists(n, n == m))",
        'principal.labels.all(k, k in ["team", "service", "cost-center"])',
        'principal.id.matches("^[a-z0-9._-]{1,64}@example[.]com$")',
        'principal.labels.exists(k, k.startsWith("x-") && principal.labels[k].contains("secret"))',
    ],
)
def test_rules_that_people_write_are_far_below_the_bound(source: str) -> None:
    """The bound is for bombs."""
    taken, _ = estimate(PYTHON.parse(source), source, Largest(ENTRIES, limits=3))
    assert taken < MAX_STEPS / 2


@pytest.mark.property
@given(TEXT, calls())
def test_a_value_is_never_larger_than_its_estimate(source: str, values: Values) -> None:
    """Otherwise a rule could exceed its bound."""
    largest = Largest(
        [values.request, values.principal, values.role, values.workspace, values.model, values.key],
        limits=len(values.spend),
    )
    try:
        value = PYTHON.compile(source, ResultKind.SCOPE).evaluate(PYTHON.bind(values))
    except EvaluationError:
        return
    assert isinstance(value, str)
    assert len(value) <= estimate(PYTHON.parse(source), source, largest)[1].count
