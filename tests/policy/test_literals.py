"""Literals in rules: what both evaluators read alike, and what no evaluator could read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import started
from support.policies import deny, minimal

from sidecar.policy import policy_set
from sidecar.policy.cel import literals
from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import Engine, ResultKind
from sidecar.policy.cel.variables import no_call
from sidecar.policy.files.problems import PolicyError

CPP, PYTHON = CelCppEngine(), CelPythonEngine()
TEXTS = st.text(st.sampled_from("ab1 ^$.\\dnrtuxbU0'\"é✓\t{}()[]"), max_size=12)


def problems(tmp_path: Path, body: str) -> str:
    """Return the problems of a directory with this rule, or ""."""
    try:
        policy_set.load(minimal(tmp_path / "p", x=deny(body)))
    except PolicyError as error:
        return str(error)
    return ""


@pytest.mark.property
@given(st.sampled_from(["r", "R", ""]), st.sampled_from("\"'"), TEXTS)
def test_a_portable_text_is_the_same_on_both_evaluators(prefix: str, quote: str, text: str) -> None:
    """And it is what the loader takes it for, whether raw or with escapes."""
    literal = f"{prefix}{quote}{text}{quote}"
    if not literals.is_portable(literal):
        return
    engines: tuple[Engine, ...] = (CPP, PYTHON)
    for engine in engines:
        program = engine.compile(literal, ResultKind.TEXT)
        assert program.evaluate(engine.bind(no_call())) == literals.text(literal)


@pytest.mark.parametrize("engine", ["cel-cpp", "cel-python"])
def test_a_pattern_may_be_a_raw_string(engine: str, tmp_path: Path) -> None:
    """As CEL's users write patterns."""
    rule = deny(r'request.model.matches(r"^[a-z]+-\d{1,3}$")')
    assert policy_set.load(minimal(tmp_path / "p", x=rule), engine).rules


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (r'request.model == "bot\b"', r"raw, as in r'^\d+$'"),
        (r'request.model == "\x41"', r"raw, as in r'^\d+$'"),
        (r'request.model.matches(r"\"")', "x.cel:8:"),
        ("{now: 0}", "x.cel:8:1: Unsupported map key type"),
        (
            'now > timestamp("2026-11-31T00:00:00Z")',
            "x.cel:8:17: there is no time 2026-11-31T00:00:00Z",
        ),
        ('now > timestamp("2026-13-01T00:00:00Z")', "there is no time"),
        ('now > timestamp("2026-11-30T24:00:00Z")', "there is no time"),
        ('now > timestamp("2026-11-30T23:59:60Z")', "there is no time"),
        ('now > timestamp("2026-02-29T00:00:00Z")', "there is no time"),
        ('now > timestamp("2026-12-01")', "write the whole time: 2026-12-01T00:00:00Z"),
        ('now > timestamp("soon")', 'as in timestamp("2026-12-01T00:00:00Z")'),
        ('now + duration("90d") > now', 'a day is 24 hours: "2160h"'),
        ('now + duration("1.5h") > now', 'as in duration("90s")'),
        ('has(principal.labels["team"])', '"cost-center" in principal.labels'),
    ],
)
def test_a_literal_that_cannot_be_meant_is_a_problem_with_the_way_out(
    body: str, expected: str, tmp_path: Path
) -> None:
    """At load: at run time each call would be denied with POLICY_ERROR."""
    assert expected in problems(tmp_path, body)


def test_a_zone_that_the_serving_evaluator_cannot_read_refuses_to_load(tmp_path: Path) -> None:
    """Each evaluator reads zones by a library of its own: this system has none for one of them."""
    directory = minimal(tmp_path / "p", x=deny('now.getHours("Europe/Paris") > 20'))
    code, out, _ = started("check", directory, TZDIR=str(tmp_path))
    assert code == 1
    assert 'x.cel:8:14: cel-cpp cannot read "Europe/Paris" on this machine' in out
    assert started("check", directory)[0] == 0
