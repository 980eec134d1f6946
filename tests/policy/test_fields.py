"""cel-cpp reads fields as variables of their own, and expressions have the values that they had."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine, ResultKind
from sidecar.policy.cel.fields import READS, TYPES, asks_presence, read_by, whole_read_by
from sidecar.policy.cel.variables import MESSAGES, Values, no_call
from sidecar.v1 import policy_input_pb2 as policy_pb

ENGINES: tuple[Engine, ...] = (CelCppEngine(), CelPythonEngine())


def values() -> Values:
    """Return a call with a value in fields of each kind."""
    return replace(
        no_call(),
        request=policy_pb.Request(model="m", tokens=7, batch=True, tool_calls={"search": 2}),
        role=policy_pb.Role(name="r", labels={"team": "ml"}, allowed_models=["a", "b"]),
        workspace=policy_pb.Workspace(
            name="w", monthly_budget_usd=0.5, services={"s": policy_pb.Service()}
        ),
        key=policy_pb.Key(id="k", expires=datetime(2030, 1, 1, tzinfo=UTC)),
    )


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    "source",
    [
        "request.tokens == 7",
        "request . tokens == 7",
        "request\n.tokens == 7",
        "request // request\n.tokens == 7",
        "(request).tokens == 7",
        '"request.tokens" != "" && request.batch',
        'has(role.labels.team) && !has(role.labels.other) && role.labels.team == "ml"',
        'request.tool_calls["search"] == 2 && !("other" in request.tool_calls)',
        'role.labels["team"] == "ml" && size(role.allowed_models) == 2',
        'role.allowed_models.exists(x, x == "b") && workspace.monthly_budget_usd == 0.5',
        '"s" in workspace.services && size(workspace.services["s"].allowed_models) == 0',
        'key.expires == timestamp("2030-01-01T00:00:00Z") && key.created < key.expires',
        'request.region == "" && key.created == timestamp("1970-01-01T00:00:00Z")',
    ],
)
def test_a_field_has_its_value_however_it_is_written(source: str, engine: Engine) -> None:
    """With spaces, comments and brackets, in macros, and where another field is read whole."""
    program = engine.compile(source, ResultKind.CONDITION)
    assert program.evaluate(engine.bind(values())) is True


def test_one_binding_serves_expressions_that_read_different_fields() -> None:
    """A later expression finds what it reads, and an earlier one still does."""
    engine = ENGINES[0]
    binding = engine.bind(values())
    sources = ("request.tokens == 7", 'key.id == "k"', 'has(role.labels.team) && role.name == "r"')
    programs = [engine.compile(source, ResultKind.CONDITION) for source in sources]
    assert [one.evaluate(binding) for one in (*programs, *programs)] == [True] * 6


def test_every_field_is_a_variable_or_read_with_its_message() -> None:
    """Only the services of a workspace have messages for values."""
    fields = {f"{name}.{field.name}" for name, of in MESSAGES.items() for field in of.fields}
    assert fields - TYPES.keys() == {"workspace.services"}
    assert READS.keys() >= TYPES.keys() | MESSAGES.keys()
    assert read_by("request.tokens > role.daily_token_budget") == {
        "request.tokens",
        "role.daily_token_budget",
    }
    assert read_by("workspace.services") == {"workspace"}


@pytest.mark.parametrize(
    "source",
    [
        "// the key {key.id} has its role\nrequest.batch",
        "request.batch // && role.name",
        'request.batch && "key // \\"role" != "" // key',
        "request.batch && r'\\d // key' != 'role \\\\' // 'key'",
    ],
)
def test_comments_and_texts_read_nothing(source: str) -> None:
    """Words of a header name variables, too; a text may have the mark of a comment."""
    assert read_by(source) == {"request.batch"}
    assert whole_read_by(source) == {"request"}
    assert not asks_presence(source)


def test_a_text_that_looks_like_a_comment_hides_no_variable() -> None:
    """What follows it is read."""
    assert read_by("'//' != key.id && r\"\\\\\" != role.name") == {"key.id", "role.name"}
