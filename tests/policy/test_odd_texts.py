"""Odd texts: what an engine does not read as Python does never reaches it."""

from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.odd_texts import CONTROLS, SURROGATES, UNUSUAL
from support.policies import ROLES, deny, minimal

from sidecar.identity.caller import UnauthenticatedError
from sidecar.identity.proofs import caller_of, read_mapping
from sidecar.policy import policy_set
from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.claims import compile_claims
from sidecar.policy.cel.engine import CelError, Engine, EvaluationError, ResultKind
from sidecar.policy.cel.variables import Values, no_key, values_of
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.files.yaml_file import YamlFile
from sidecar.v1 import policy_input_pb2 as policy_pb

ENGINES: list[Engine] = [CelCppEngine(), CelPythonEngine()]
CPP = pytest.mark.parametrize("cpp", [True, False], ids=["cel-cpp", "cel-python"])

PLACES: list[dict[str, Any]] = [
    {"role": "{}"},
    {"unused": "{}", "role": "x"},
    {"{}": "x", "role": "x"},
    {"role": "x", "groups": ["ml", "{}"]},
    {"role": "x", "of": {"a": [{"{}": 1}]}},
]


def placed(text: str, into: Any) -> Any:
    """Return claims with the text in the place of `{}`."""
    if isinstance(into, dict):
        return {placed(text, key): placed(text, value) for key, value in into.items()}
    if isinstance(into, list):
        return [placed(text, item) for item in into]
    return text if into == "{}" else into


@CPP
@pytest.mark.parametrize("claims", PLACES, ids=["claim", "other claim", "name", "item", "deep"])
@pytest.mark.parametrize(
    "text", (CONTROLS | SURROGATES).values(), ids=(CONTROLS | SURROGATES).keys()
)
def test_claims_with_a_control_character_prove_nothing(
    text: str, claims: dict[str, Any], cpp: bool
) -> None:
    """Wherever it is, also where the expression does not look."""
    with pytest.raises(EvaluationError):
        compile_claims("claims.role", cpp=cpp).text(placed(text, claims))


@pytest.mark.parametrize(
    "text", (CONTROLS | SURROGATES).values(), ids=(CONTROLS | SURROGATES).keys()
)
def test_a_caller_whose_claims_have_a_control_character_is_not_proven(text: str) -> None:
    """The error names the field, and shows nothing of the claims."""
    mapping = read_mapping(["id=claims.sub"])
    with pytest.raises(UnauthenticatedError) as caught:
        caller_of(mapping, {"sub": "ada", "groups": [text]}, 1e12, "TOKEN_EXPIRED")
    assert str(caught.value) == "the claims do not yield a id"
    assert caught.value.reason == "PRINCIPAL_UNPROVEN"


CLAIMS = [
    ("claims.c", "{}"),
    ("claims.l[0]", "{}"),
    ('claims.c in claims.l && claims.c in claims ? "yes" : "no"', "yes"),
    ('claims.c == "ada" || claims.c == "adax" ? "yes" : "no"', "no"),
    ('claims.c.split(",")[0]', "{}"),
]


@CPP
@pytest.mark.parametrize(("source", "expected"), CLAIMS)
@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_other_odd_claims_are_read_whole(source: str, expected: str, text: str, cpp: bool) -> None:
    """As the text that they are, on both engines."""
    claims = {"c": text, "l": [text], text: 1}
    assert compile_claims(source, cpp=cpp).text(claims) == placed(text, expected)


def of(text: str) -> Values:
    """Return a call in which every text of a message is this one."""
    role = policy_pb.Role(name=text, labels={text: text}, allowed_models=[text])
    service = policy_pb.Service(allowed_models=[text])
    workspace = policy_pb.Workspace(name=text, team=text, services={text: service})
    model = policy_pb.Model(id=text, aliases=[text], names=[text])
    known = values_of(role, workspace, model)
    return Values(
        request=policy_pb.Request(model=text, tool_calls={text: 1}),
        principal=pb.Principal(id=text, labels={text: text}),
        role=known.role,
        workspace=known.workspace,
        model=known.model,
        key=no_key(text),
        now=known.now,
        today=known.today,
        spend={},
    )


SAME = [
    "principal.id",
    "principal.labels[principal.id]",
    "role.labels[key.id]",
    "role.allowed_models[0]",
    "workspace.services[workspace.team].allowed_models[0]",
    "model.names[0]",
    'principal.id.split(",")[0]',
    "request.model",
]
TRUE = [
    "principal.id in principal.labels && principal.id in role.allowed_models",
    "principal.labels.exists(k, k == role.name)",
    "request.tool_calls[principal.id] == 1",
    'principal.id != "ada" && principal.id + "x" == role.name + "x"',
]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("text", (CONTROLS | UNUSUAL).values(), ids=(CONTROLS | UNUSUAL).keys())
def test_texts_of_messages_are_read_whole(text: str, engine: Engine) -> None:
    """Requests and entries are protobuf messages, in which no character ends a text."""
    binding = engine.bind(of(text))
    for source in SAME:
        assert engine.compile(source, ResultKind.SCOPE).evaluate(binding) == text, source
    for source in TRUE:
        assert engine.compile(source, ResultKind.CONDITION).evaluate(binding) is True, source


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_texts_of_lists_are_read_whole(text: str, engine: Engine) -> None:
    """Lists are Python's texts."""
    lists = {text: [text]}
    known = values_of(policy_pb.Role(name=text), policy_pb.Workspace(), policy_pb.Model(), lists)
    source = (
        "role.name in lists && role.name in lists[role.name] && lists[role.name][0] == role.name"
    )
    program = engine.compile(source, ResultKind.CONDITION)
    assert program.evaluate(engine.bind(known)) is True


ESCAPES = ["\\0", "\\x00", "\\u0000", "\\U00000000", "\\ud800", "\\ud83d\\ude00"]
DATA = [
    'lists: {people: ["ada%s"]}',
    'lists: {"people%s": [ada]}',
    ROLES.replace("tester", '"tester%s"'),
    ROLES + '    labels: {x: "ada%s"}\n',
    ROLES + '    labels: {"x%s": ada}\n',
    'keys: {k: {workspace: lab, owner: "ada%s"}}',
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("data", DATA)
def test_data_files_have_no_nul_and_no_half_a_pair(data: str, escape: str, tmp_path: Path) -> None:
    """Also as an escape, in any text: a name, a label, an item of a list."""
    path = minimal(tmp_path / "p", more_yaml=data % escape)
    (path / "roles.yaml").write_text("" if "roles:" in data else ROLES)
    with pytest.raises(PolicyError) as caught:
        policy_set.load(path)
    assert "more.yaml:" in str(caught.value)


@pytest.mark.parametrize("text", ['a: "x\\0"', '"a\\0": x', 'a: ["\\0"]'])
def test_a_yaml_file_names_the_place_of_a_nul(text: str) -> None:
    """Data files, fixtures and settings are all read by it."""
    (problem,) = YamlFile("x.yaml", text).problems
    assert problem.line == 1


@pytest.mark.parametrize("text", (CONTROLS | SURROGATES).values(), ids=ascii)
def test_a_claims_expression_has_no_control_characters(text: str) -> None:
    """A settings file could have one."""
    with pytest.raises(CelError):
        compile_claims(f'"{text}"')


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x85", "\ufeff", "\u202e", "\u2028"])
def test_a_rule_has_no_invisible_characters(character: str, tmp_path: Path) -> None:
    """Both engines read the texts of rules, also in scopes and messages."""
    for text in (
        deny(f'principal.id == "ada{character}"'),
        deny("true", message=f'{{principal.id + "{character}"}}'),
        deny("true") + f"// {character}\n",
    ):
        path = minimal(tmp_path / "p", x=text)
        with pytest.raises(PolicyError, match="has the invisible character"):
            policy_set.load(path)
