"""Reading any rule file gives a rule or problems with places, never a traceback."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.expressions import CONDITION

from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.sizes import Largest
from sidecar.policy.expressions import ExpressionCompiler
from sidecar.policy.rules import RuleReader

SHIPPED = [path.read_text() for path in sorted(Path("policies").glob("*.cel"))]
EXAMPLES = settings().max_examples
CPP, PYTHON = CelCppEngine(), CelPythonEngine()
READERS = [
    RuleReader(ExpressionCompiler(engine, PYTHON, CPP, Largest([], limits=1)))
    for engine in (CPP, PYTHON)
]
PIECES = [
    "request", "principal", "role", "workspace", "model", "key", "now", "today", "spend", "unlimited",
    ".id", ".labels", ".tokens", ".services", ".getHours", ".matches", ".all", ".map", ".size",
    ".split", ".trim", ".lowerAscii",
    "has", "size", "int", "double", "string", "bytes", "type", "dyn", "timestamp", "duration",
    "(", ")", "[", "]", "{", "}", ",", ":", "?", ".", "x", "x, x", "==", "!=", "<", "in", "&&",
    "||", "!", "-", "+", "*", "/", "%", "true", "false", "null", "0", "1", "1u", "1.5", "1e999",
    "0x1F", "9223372036854775808", '""', '"a"', "'a'", 'r"\\d"', 'b"a"', '"""a"""', r'"\b"',
    r'"\x41"', r'"\u00e9"', '"\\ud800"', r'r"\"', '"2026-11-31T00:00:00Z"', '"90d"', '"UTC"',
    "//", "\n", "\r", "\t", "\x00", "\ufeff", "\u2028", "é", "\U0001f600", "\\", "`", "@", "#",
]  # fmt: skip
HEADER = (
    "// METADATA\n// effect: deny\n// owner: a@b\n// reason: NO\n// http_status: 403\n"
    "// message: no\n"
)


def check(text: str) -> None:
    """Read a rule with each evaluator; each problem is at a place in the file and of its own."""
    for reader in READERS:
        rule, problems = reader.read("x.cel", text)
        assert (rule is None) == bool(problems)
        for problem in problems:
            assert 0 <= problem.line <= len(text.splitlines()) + 1
            assert "unexpected" not in problem.message, (text, problem)


@pytest.mark.property
@settings(max_examples=20 * EXAMPLES)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["", " "]))
def test_any_expression_is_read_or_refused(pieces: list[str], between: str) -> None:
    """Tokens in any order, most of which are no CEL."""
    check(HEADER + between.join(pieces) + "\n")


@pytest.mark.property
@settings(max_examples=5 * EXAMPLES)
@given(CONDITION, st.data())
def test_a_good_expression_with_one_piece_more_is_read_or_refused(
    source: str, data: st.DataObject
) -> None:
    """Nearly right, as people write."""
    where = data.draw(st.integers(0, len(source)))
    piece = data.draw(st.sampled_from(PIECES))
    check(HEADER + source[:where] + piece + source[where:] + "\n")


@pytest.mark.property
@settings(max_examples=5 * EXAMPLES)
@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_rule_with_a_change_is_read_or_refused(text: str, data: st.DataObject) -> None:
    """Anywhere in the file, the header included."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    piece = data.draw(st.sampled_from(PIECES) | st.text(max_size=5))
    check(text[:start] + piece + text[end:])
