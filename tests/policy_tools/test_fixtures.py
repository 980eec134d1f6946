"""`*_test.yaml`: sequences of steps that a policy directory carries with it."""

import os
from pathlib import Path

import pytest
from support.policies import SHIPPED, deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.trace import RuleTraces
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.coverage import Coverage
from sidecar.policy_tools.testing.runner import Mismatch, run_fixtures

CALL = "authorize: {principal: {id: ada, role: tester, workspace: lab}, model: small-1}"


def mismatches(directory: Path, steps: str, engine: str = "cel-cpp") -> list[tuple[str, str, str]]:
    """Run one test; return what did not come as expected."""
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n{steps}")
    found, problems = fixtures.read(directory)
    assert problems == []
    (outcome,) = run_fixtures(policy_set.load(directory, engine), found)
    return [(m.what, m.expected, m.actual) for m in outcome.mismatches]


def test_the_shipped_fixtures_pass_and_cover_every_condition(engine: str) -> None:
    """Every rule and every condition of the shipped set is tested true and false."""
    policy = policy_set.load(SHIPPED, engine)
    found, problems = fixtures.read(SHIPPED)
    assert problems == []
    outcomes = list(run_fixtures(policy, found))
    assert [o.fixture.name for o in outcomes if o.mismatches] == []
    coverage = Coverage(RuleTraces(policy))
    for outcome in outcomes:
        coverage.record(outcome.inputs)
    assert [(s.rule, s.part.text, s.missing) for s in coverage.conditions if s.missing] == []


def test_a_sequence_holds_settles_and_lets_time_pass(engine: str, tmp_path: Path) -> None:
    """Steps act on one ledger, in order, at a time that only they move."""
    directory = minimal(tmp_path / "p", daily=limit("300", meter="tokens", window="hour"))
    steps = f"""
  - {CALL}
    expect: {{effect: allow, remaining: {{daily: 100}}}}
  - {CALL}
    expect: {{effect: deny, reasons: [TOO_MUCH], rules: [daily]}}
  - settle: {{usage: {{prompt_tokens: 1, completion_tokens: 2}}}}
  - advance: 1h
  - {CALL.replace("}, model", "}, as: second, model")}
    expect: {{effect: allow, remaining: {{daily: 100}}, max_output_tokens: 100}}
  - release: {{hold: second}}
    expect: {{charged_tokens: 0, remaining: {{daily: 300}}}}
"""
    assert mismatches(directory, steps, engine) == []


def test_a_step_that_closes_an_unknown_hold_fails(tmp_path: Path) -> None:
    """A fixture cannot settle a call that was denied."""
    directory = minimal(tmp_path / "p", no=deny("true"))
    assert mismatches(directory, f"  - {CALL}\n  - release: {{}}\n") == [
        ("hold", "a hold named 'hold'", "no earlier step made it")
    ]


@pytest.mark.parametrize(
    ("expect", "mismatch"),
    [
        ("effect: deny", ("effect", "deny", "allow")),
        ("reasons: [NO]", ("reasons", "NO", "")),
        ("shadow: [x]", ("shadow", "x", "")),
        ("max_output_tokens: 7", ("max_output_tokens", "7", "100")),
        ("held_usd: 1.5", ("held_usd", "1.50", "0.0002")),
        ("remaining: {daily: 5}", ("remaining of daily", "5", "100")),
        ("remaining: {nightly: 5}", ("remaining of nightly", "5", "no such limit")),
    ],
)
def test_each_expectation_can_fail(
    expect: str, mismatch: tuple[str, str, str], tmp_path: Path
) -> None:
    """With the expected and the actual result."""
    directory = minimal(tmp_path / "p", daily=limit("300", meter="tokens"))
    assert mismatches(directory, f"  - {CALL}\n    expect: {{{expect}}}\n") == [mismatch]


def test_a_failure_is_placed_at_its_step(tmp_path: Path) -> None:
    """The line is the step's, so that an editor can go there."""
    directory = minimal(tmp_path / "p", no=deny("true"))
    text = f"tests:\n- name: one\n  steps:\n  - {CALL}\n    expect: {{effect: allow}}\n"
    (directory / "x_test.yaml").write_text(text)
    (outcome,) = run_fixtures(policy_set.load(directory), fixtures.read(directory)[0])
    assert outcome.mismatches == [Mismatch(4, "effect", "allow", "deny")]
    assert outcome.involved == {"no"}


def test_a_table_makes_a_test_of_each_row(tmp_path: Path) -> None:
    """`each:` fills its placeholders in, whole values with their types."""
    directory = minimal(tmp_path / "p", daily=limit("300", meter="tokens"))
    (directory / "x_test.yaml").write_text(
        "tests:\n- name: ${n} tokens\n  each:\n  - {n: 200, effect: allow}\n"
        "  - {n: 400, effect: deny}\n  steps:\n"
        "  - authorize: {principal: {id: a, role: tester, workspace: lab}, model: small-1,\n"
        '      estimate: {input_tokens: 1, max_output_tokens: "${n}"}}\n'
        '    expect: {effect: "${effect}"}\n'
    )
    found, problems = fixtures.read(directory)
    assert problems == []
    assert [f.name for f in found] == ["200 tokens", "400 tokens"]
    outcomes = run_fixtures(policy_set.load(directory), found)
    assert [o.mismatches for o in outcomes] == [[], []]


def test_a_pipe_as_a_fixture_is_refused(tmp_path: Path) -> None:
    """Fixtures have the same bounds as rules and data."""
    os.mkfifo(tmp_path / "x_test.yaml")
    found, problems = fixtures.read(tmp_path)
    assert (found, [str(p) for p in problems]) == ([], ["x_test.yaml: is not a regular file"])


WRONG = [
    ("no list", "test: []\n", "a fixture file has a list under 'tests:'"),
    ("no name", "tests:\n- steps: []\n", "x_test.yaml:2:3: 'name' is missing"),
    ("misspelt key", "tests:\n- name: a\n  step: []\n", "did you mean 'steps'?"),
    ("two things", f"tests:\n- name: a\n  steps:\n  - {CALL}\n    advance: 1s\n",
     "x_test.yaml:4:5: a step is one of authorize"),
    ("no length", "tests:\n- name: a\n  steps:\n  - advance: soon\n", "x_test.yaml:4:14: "),
    ("misspelt expectation", f"tests:\n- name: a\n  steps:\n  - {CALL}\n    expect: {{efect: deny}}\n",
     "did you mean 'effect'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_fixture_is_reported_at_its_place(text: str, expected: str, tmp_path: Path) -> None:
    """Fixtures have a schema, as the data files have."""
    (tmp_path / "x_test.yaml").write_text(text)
    _, problems = fixtures.read(tmp_path)
    assert any(expected in str(problem) for problem in problems), problems
