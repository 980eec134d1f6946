"""`sidecar fmt`: one layout, and never another meaning."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.expressions import CONDITION, calls

from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import EvaluationError, ResultKind
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import Values
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.files import header
from sidecar.policy.rules import RuleReader
from sidecar.policy_tools.format import WIDTH, format_rule

HEADER = """// METADATA
// effect: deny
// reason: NO
// http_status: 403
// message: no
// owner: a@b
"""
CPP, PYTHON = CelCppEngine(), CelPythonEngine()
READER = RuleReader(ExpressionCompiler(CPP, PYTHON, CPP, Largest([], limits=0)))


def formatted(text: str) -> str:
    """Format a rule that has to be without problems."""
    _, problems = READER.read("x.cel", text)
    assert not problems, problems
    return format_rule(text, header.parse("x.cel", text)[0])


def outcome(text: str, values: Values) -> object:
    """Return the value of a rule, None if it fails."""
    try:
        return CPP.compile(text, ResultKind.CONDITION).evaluate(CPP.bind(values))
    except EvaluationError:
        return None


BODIES = {
    'role.name=="admin"||!( request.batch )': 'role.name == "admin" || !(request.batch)',
    "request.tokens>- 1&&request.tokens - 1<5": "request.tokens > -1 && request.tokens - 1 < 5",
    "[1,2 ,3] [ 0 ]==1": "[1, 2, 3][0] == 1",
    '{"a" :1}["a"]==1?true:  false': '{"a": 1}["a"] == 1 ? true : false',
    'role . allowed_models.exists( n,n in["a"] )': 'role.allowed_models.exists(n, n in ["a"])',
    '"a  ||  b"  ==  role.name': '"a  ||  b" == role.name',
    "true // why": "true  // why",
    "// first\n\n\n// second\ntrue\n\n// last": "\n// first\n\n// second\ntrue\n\n// last",
    # What is too long breaks after its weakest operators.
    'principal.id == "an app with a long name!" && role.name == "another" || '
    'request.model == "mistral-large-latest" && request.batch': """\
principal.id == "an app with a long name!" && role.name == "another" ||
request.model == "mistral-large-latest" && request.batch""",
    # A comment stays with its operand, and brackets follow what they belong to.
    """request.batch && // of batches
    ( role.name == "ml" // the team
    || role.name == "web")""": """\
request.batch &&  // of batches
(
  role.name == "ml" ||  // the team
  role.name == "web"
)""",
    """request.batch && (
    // the team
    role.name == "ml"
    // and no other
    )""": """\
request.batch && (
  // the team
  role.name == "ml"
  // and no other
)""",
    # A chain of choices is a table.
    """role.name == "admin" ? request.tokens < 500000 : // all of it
    role.name == "ml-engineer" ? request.tokens < 100000 : request.tokens < 1000""": """\
role.name == "admin" ? request.tokens < 500000 :  // all of it
role.name == "ml-engineer" ? request.tokens < 100000 : request.tokens < 1000""",
}


@pytest.mark.parametrize(("body", "expected"), BODIES.items())
def test_an_expression_has_one_layout(body: str, expected: str) -> None:
    """Space, brackets, breaks and comments."""
    assert formatted(f"{HEADER}\n{body}\n") == f"{HEADER}{expected}\n"


def test_a_header_has_its_keys_in_order_and_tidy() -> None:
    """Values are unchanged, except for the layout of CEL in them."""
    text = """// METADATA
//owner:  a@b
// window: day
// alert_at: 50%,80% , 100%
// per:  role.name+"/"+principal.id
// meter: tokens
// message:  { role.name } has  had   {1+1}
// http_status: 429
// reason: NO
// effect: limit

100
"""
    assert (
        formatted(text)
        == """// METADATA
// effect: limit
// reason: NO
// http_status: 429
// message: {role.name} has  had   {1 + 1}
// owner: a@b
// meter: tokens
// window: day
// per: role.name + "/" + principal.id
// alert_at: 50%, 80%, 100%
100
"""
    )


SPACES = [" ", "  ", "\n", "\n\n", " // {}\n", "\n// {}\n", "\n\n// {}\n//{}-b\n"]


@st.composite
def scrambled(draw: st.DrawFn) -> str:
    """Draw a rule with any space, and comments anywhere."""
    words = draw(CONDITION).replace("(", "( ").replace(")", " )").split(" ")
    pieces = [HEADER, "\n"]
    for number, word in enumerate(words):
        pieces += [word, draw(st.sampled_from(SPACES)).format(number, number)]
    return "".join(pieces)


def comments(text: str) -> list[str]:
    """Return the comments below the header, sorted."""
    return sorted(re.findall(r"//\s*(\d.*)", text))


@pytest.mark.property
@given(scrambled(), calls())
def test_formatting_never_changes_meaning_and_keeps_comments(text: str, values: Values) -> None:
    """Tokens, syntax tree and value are the same; formatting twice changes nothing more."""
    assume(not READER.read("x.cel", text)[1])
    first = formatted(text)
    assert PYTHON.parse(first) == PYTHON.parse(text)
    assert outcome(first, values) == outcome(text, values)
    assert comments(first) == comments(text)
    assert formatted(first) == first


@pytest.mark.property
@given(CONDITION)
def test_what_fits_on_a_line_is_on_one(body: str) -> None:
    """Without comments, a rule is broken only where it has to be."""
    assume(not READER.read("x.cel", f"{HEADER}{body}")[1])
    lines = formatted(f"{HEADER}{body}").removeprefix(HEADER).splitlines()
    assert len(lines) == 1 or len(" ".join(line.strip() for line in lines)) > WIDTH
