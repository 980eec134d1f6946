"""`lowerAscii`, `split` and `trim`: the two evaluators agree on every text."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import deny

from sidecar.policy.cel import variables
from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine, EvaluationError, Result, ResultKind
from sidecar.policy.cel.evaluation_steps import MAX_STEPS, estimate
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.cel.variables import Values
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.rules import RuleReader

CPP, PYTHON = CelCppEngine(), CelPythonEngine()
LARGEST = Largest([], limits=0)
COMPILERS = [ExpressionCompiler(engine, PYTHON, CPP, LARGEST) for engine in (CPP, PYTHON)]

ODD = ["", "\0", ",", ",,", " ", "\t\n", "\x1c", "\x85", "\xa0", "\u200b", "\u3000", "é", "e\u0301",
       "İ", "ß", "K", "A", "Z", "👩\u200d👧", "\U0010ffff"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ODD) | st.text(max_size=3), max_size=8).map("".join)
SEPARATORS = [",", ",,", ", ", "@", "é", "👩", "\u200d", "aa"]


def of(text: str) -> Values:
    """Return the values of a call by a principal whose id is this text."""
    values = variables.no_call()
    values.principal.MergeFrom(pb.Principal(id=text))
    return values


def outcome(engine: Engine, compiler: ExpressionCompiler, source: str, text: str) -> Result | None:
    """Return an expression's value, None if it fails."""
    try:
        expression = compiler.compile(source, ResultKind.TEXT)
        return expression.program.evaluate(engine.bind(of(text)))
    except EvaluationError:
        return None


def both(source: str, text: str) -> Result | None:
    """Return the value that both evaluators give to an expression that reads `principal.id`."""
    one = outcome(CPP, COMPILERS[0], source, text)
    other = outcome(PYTHON, COMPILERS[1], source, text)
    assert (type(one), one) == (type(other), other)
    return one


@pytest.mark.property
@given(TEXTS)
@example("\x00 a \x00")
@example("\x1c a \x1f")
def test_trim_and_lower_ascii_are_equal_on_both_engines(text: str) -> None:
    """Also one after the other, and of a text that is joined from two."""
    both("principal.id.trim()", text)
    both("principal.id.lowerAscii()", text)
    both('(principal.id + " Ä").lowerAscii().trim()', text)


@pytest.mark.property
@given(TEXTS, st.sampled_from(SEPARATORS), st.integers(0, 2))
@example("", ",", 0)
@example(",a,", ",", 0)
@example(",,,", ",,", 0)
@example("aaaaa", "aa", 0)
@example("a\0b,\0", ",", 0)
def test_split_is_equal_on_both_engines(text: str, separator: str, more: int) -> None:
    """It has one item more than there are separators, and joined again they are the text."""
    text += separator.join([""] * more)
    source = f'principal.id.split("{separator}")'
    items = [both(f"{source}[{n}]", text) for n in range(text.count(separator) + 1)]
    assert separator.join(map(str, items)) == text
    assert both(f"size({source})", text) == len(items)
    assert both(f"{source}[{len(items)}]", text) is None
    assert both(f'"a" in {source}', text) is ("a" in items)
    assert both(f"{source}.map(item, item) == {source}", text) is True


def test_each_white_space_of_unicode_is_trimmed_by_both_engines() -> None:
    """Of all characters that are white space, separators or controls, for Unicode or Python."""
    spaces = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")
    ]
    kept = [each for each in spaces if both("principal.id.trim()", f"{each}x{each}") != "x"]
    assert {"\0", "\x1c", "\x1d", "\x1e", "\x1f", "\u200b", "\ufeff"} < set(kept)
    assert len(spaces) - len(kept) == 25  # as many as have the property White_Space


def test_lower_ascii_changes_a_to_z_alone() -> None:
    """Every other letter with a lower case stays, also those that lower to ASCII, such as K."""
    others = "".join(c for c in map(chr, range(128, sys.maxunicode + 1)) if c.lower() != c)
    assert both("principal.id.lowerAscii()", f"AZ{others}[`") == f"az{others}[`"


REFUSED = [
    ('principal.id.split("") == []', 'as in split(",")'),
    ("principal.id.split(principal.role) == []", 'as in split(",")'),
    ('principal.id.split("a" + "b") == []', 'as in split(",")'),
    ('principal.id.split(",", 2) == []', 'as in split(",")'),
    ("principal.id.split() == []", 'write text.split(",")'),
    ('lowerAscii(principal.id) == "a"', "write text.lowerAscii()"),
    ('principal.id.trim("x") == "a"', "write text.trim()"),
    ('principal.id.contains() == "a"', "docs/policies.md shows how"),
    ('principal.id.split(",")[request.tokens] == "a"', "has to be a literal number"),
    ('1 in principal.id.split(",")', "does not take an int and a list(string)"),
    ('principal.id.split(",")[0] == 1', "does not take a string and an int"),
    ('principal.id.split(",").exists(item, item == 1)', "does not take a string and an int"),
    ('request.tokens.trim() == "a"', "trim() does not take an int"),
    ('principal.id.upperAscii() == "A"', "upperAscii() is not a method of both evaluators"),
    ('principal.id.replace("a", "b") == ""', "replace() is not a method of both evaluators"),
]


@pytest.mark.parametrize(("source", "hint"), REFUSED)
def test_what_the_engines_treat_differently_is_refused(source: str, hint: str) -> None:
    """The error says what to write."""
    rule, found = RuleReader(COMPILERS[0]).read("x.cel", deny(source))
    assert rule is None
    assert hint in "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("source", "share"),
    [
        ('"ml" in principal.labels["teams"].split(",")', 0.1),
        ('principal.labels["teams"].split(",").exists(t, t.trim().lowerAscii() == "ml")', 0.5),
        ('principal.id.split(",").all(a, principal.role.split(",").exists(b, a == b))', None),
        ('principal.labels.exists(k, "ml" in principal.labels[k].split(","))', None),
    ],
)
def test_a_text_may_have_as_many_items_as_characters(source: str, share: float | None) -> None:
    """The bound on evaluation steps counts them: loops in loops over them are too many."""
    taken, _ = estimate(PYTHON.parse(source), source, LARGEST)
    assert (taken < MAX_STEPS * share) if share else (taken > MAX_STEPS)


@pytest.mark.property
@given(TEXTS)
def test_no_text_has_more_or_longer_items_than_estimated(text: str) -> None:
    """Otherwise a loop over them could exceed its bound."""
    source = f'"{"x" * len(text)}".split(",")'
    _, size = estimate(PYTHON.parse(source), source, LARGEST)
    items = [both(f'principal.id.split(",")[{n}]', text) for n in range(text.count(",") + 1)]
    assert size.item is not None
    assert len(items) <= size.count
    assert max(len(str(item)) for item in items) <= size.item.count
