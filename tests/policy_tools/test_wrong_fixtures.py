"""Invalid and hostile fixtures: problems at their place."""

import os
from pathlib import Path

import pytest
from support.policies import MODELS, deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.files.problems import Problem
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.runner import run_fixtures
from sidecar.policy_tools.testing.validate import validate_fixtures

WHO = "principal: {id: ada, role: tester, workspace: lab}"
CALL = f"authorize: {{{WHO}, model: small-1}}"


def found(directory: Path, text: str) -> list[Problem]:
    """Return the problems of a fixture file; one without problems has to run."""
    (directory / "x_test.yaml").write_text(text)
    tests, problems = fixtures.read(directory)
    policy = policy_set.load(directory)
    problems += validate_fixtures(tests, policy)
    if not problems:
        list(run_fixtures(policy, tests))
    return problems


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A set with a limit of each kind."""
    priced = MODELS.replace("  free-1:\n    family: free\n", "")
    return minimal(
        tmp_path / "p",
        models_yaml=priced,
        daily=limit("300", meter="tokens"),
        all=limit("300", per='"all"'),
        monthly=limit("10", meter="cost", window="month"),
        no_batch=deny("request.batch"),
    )


def steps(text: str, more: str = "") -> str:
    """Write a file with one test of one step, at line 4 (or after what comes more)."""
    return f"tests:\n- name: one\n{more}  steps:\n  - {text}\n"


BALANCE = "  balances:\n  - {{rule: {}, scope: lab, spent: {}}}\n"

WRONG = [
    ("a day as a count", steps("settle: {usage: {prompt_tokens: 2026-01-01}}"),
     "x_test.yaml:4:14: 'usage': prompt_tokens is not a number"),
    ("a count that is none", steps("settle: {usage: {prompt_tokens: many}}"),
     "x_test.yaml:4:14: 'usage': prompt_tokens is not a number"),
    ("a count without end", steps("settle: {usage: {prompt_tokens: .inf}}"), "prompt_tokens is not between"),
    ("a length without end", steps("advance: 9999999999d"), "x_test.yaml:4:14: 'advance': is longer than 3660 days"),
    ("a length of many digits", steps(f"advance: {'9' * 5000}d"), "x_test.yaml:4:14: 'advance': has to be a duration"),
    ("many lengths", steps("advance: 3660d\n" + "  - advance: 3660d\n" * 12), "x_test.yaml:2:3: the steps advance by more than"),
    ("a count of 20 digits", steps(
        f'authorize: {{{WHO}, model: small-1, estimate: {{input_tokens: "{"9" * 20}"}}}}'),
     "'input_tokens': input should be less than or equal to"),
    ("a count below 0", steps(f"authorize: {{{WHO}, model: small-1, estimate: {{pages: -1}}}}"), "'pages': "),
    ("half a character", steps(f'authorize: {{{WHO}, model: small-1, estimate: {{region: "\\ud800"}}}}'),
     "found invalid Unicode character escape"),
    ("no input", steps(f"authorize: {{{WHO}, model: small-1, estimate: {{pages: 1}}}}"),
     "x_test.yaml:4:85: estimate.input_tokens or estimate.input_bytes is needed"),
    ("an id of control characters", steps(CALL.replace("ada", '"a\\x07"')),
     "x_test.yaml:4:33: principal.id has characters that cannot be printed"),
    ("a hold for years", steps(CALL.replace("small-1", "small-1, hold_ttl: 300d")), "hold_ttl is not from 1 to 86400"),
    ("a balance beyond all", steps(CALL, BALANCE.format("monthly", "999999999999.5")),
     "x_test.yaml:4:40: a limit of cost counts at most 999,999,999 USD"),
    ("a balance that is no number", steps(CALL, BALANCE.format("daily", ".nan")), "x_test.yaml:4:38: 'spent': has to be a number"),
    ("a balance below 0", steps(CALL, BALANCE.format("daily", "-1")), "'spent': input should be greater than or equal to 0"),
    ("half a token", steps(CALL, BALANCE.format("daily", "1.5")), "x_test.yaml:4:38: a limit of tokens counts whole numbers"),
    ("balances that add up", "tests:\n- name: one\n  balances:\n" + 2 * "  - {rule: monthly, scope: lab, spent: 900000000}\n"
     + f"  steps:\n  - {CALL}\n", "x_test.yaml:5:40: a limit of cost counts at most"),
    ("a balance of no limit", steps(CALL, BALANCE.format("montly", "1")),
     "x_test.yaml:4:12: no limit is named 'montly'\n"
     "      - {rule: montly, scope: lab, spent: 1}\n               ^\n    did you mean 'monthly'?"),
    ("a scope that is no workspace", steps(CALL, BALANCE.format("daily", "1").replace("lab", "lap")),
     "x_test.yaml:4:26: daily counts by workspace.name, which is never 'lap'\n"
     "      - {rule: daily, scope: lap, spent: 1}\n                             ^\n    did you mean 'lab'?"),
    ("a scope that is another text", steps(CALL, BALANCE.format("all", "1").replace("lab", "al")),
     "x_test.yaml:4:24: all counts by \"all\", which is never 'al'"),
    ("an expectation of time", steps("advance: 1s\n    expect: {effect: allow}"),
     "x_test.yaml:5:5: 'advance' has no result, so this is not compared"),
    ("an empty expectation of time", steps("advance: 1s\n    expect: {}"), "x_test.yaml:5:5: 'advance' has no result"),
    ("the effect of a settlement", steps("settle: {}\n    expect: {charged_usd: 0, effect: allow}"),
     "x_test.yaml:5:30: 'settle' has no 'effect' as a result, so this is not compared"),
    ("the reasons of a release", steps("release: {}\n    expect: {reasons: []}"),
     "x_test.yaml:5:14: 'release' has no 'reasons' as a result"),
    ("the charge of a call that is not made yet", steps(CALL + "\n    expect: {charged_tokens: 5}"),
     "x_test.yaml:5:14: 'authorize' has no 'charged_tokens' as a result"),
    ("a column without a placeholder", "tests:\n- name: ${a}\n  each:\n  - {a: 1}\n  - {a: 1, effect: deny}\n  steps:\n  - advance: 1s\n",
     "x_test.yaml:5:12: no placeholder is ${effect}, so this is not used"),
    ("half a token that remains", steps(CALL + "\n    expect: {remaining: {daily: 499_800.9}}"),
     "x_test.yaml:5:33: a limit of tokens counts whole numbers"),
    ("a cost of ten decimals", steps(CALL + "\n    expect: {held_usd: 0.0000000001}"),
     "x_test.yaml:5:24: cost is counted in USD with at most nine decimals"),
    ("a balance of ten decimals", steps(CALL, BALANCE.format("monthly", "0.0000000001")),
     "x_test.yaml:4:40: cost is counted in USD with at most nine decimals"),
    ("a balance of a deny rule", steps(CALL, BALANCE.format("no-batch", "1")), "no-batch is a deny rule, not a limit"),
    ("a rule that is none", steps(CALL + "\n    expect: {rules: [daily, no-bach]}"),
     "x_test.yaml:5:29: no rule is named 'no-bach'"),
    ("a rule on trial that is none", steps(CALL + "\n    expect: {shadow: [no-bach]}"), "did you mean 'no-batch'?"),
    ("a model that is none would fit", steps(CALL + "\n    expect: {fitting_models: [smal-1]}"),
     "x_test.yaml:5:31: no model has the id 'smal-1'\n"
     "        expect: {fitting_models: [smal-1]}\n                                  ^\n    did you mean 'small-1'?"),
    ("an alias would fit", steps(CALL + "\n    expect: {fitting_models: [small-latest]}"), "its id is 'small-1'"),
    ("what would fit a release", steps("release: {}\n    expect: {fitting_models: []}"),
     "x_test.yaml:5:14: 'release' has no 'fitting_models' as a result"),
    ("a fitting output below 0", steps(CALL + "\n    expect: {fitting_max_output_tokens: -1}"),
     "'fitting_max_output_tokens': input should be greater than or equal to 0"),
    ("what remains of no limit", steps(CALL + "\n    expect: {remaining: {dayly: 5}}"),
     "x_test.yaml:5:26: no limit is named 'dayly'"),
    ("rows that are no list", "tests:\n- name: one\n  each: 5\n  steps:\n  - advance: 1s\n",
     "x_test.yaml:3:9: 'each' has to be a list of rows"),
    ("a row that is none", "tests:\n- name: one\n  each: [1]\n  steps:\n  - advance: 1s\n",
     "x_test.yaml:3:10: a row of 'each' has to be a mapping"),
    ("no rows", "tests:\n- name: one\n  each: []\n  steps:\n  - advance: 1s\n", "'each' has no rows, so nothing is tested"),
    ("too many rows", "tests:\n- name: ${a}\n  each:\n" + "  - {a: 1}\n" * 2001 + "  steps:\n  - advance: 1s\n",
     "x_test.yaml:3:3: 'each' has more than 2,000 rows"),
    ("rows of a large test", "tests:\n- name: " + "x" * 9_000 + "\n  each:\n" + "  - {a: 1}\n" * 1999 + "  steps:\n  - advance: 1s\n",
     "x_test.yaml:3:3: the tests of this file have more than 8,000,000 characters"),
    ("a bomb", f'tests:\n- name: "{"${a}" * 100_000}"\n  each:\n  - {{a: {"x" * 500_000}}}\n  steps:\n  - advance: 1s\n',
     "x_test.yaml:3:3: the tests of this file have more than 8,000,000 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_each_mistake_in_a_fixture_is_a_problem_at_its_place(
    text: str, expected: str, policies: Path
) -> None:
    """Nothing of a fixture ends in a traceback, and nothing wrong is found only when it runs."""
    assert any(expected in str(problem) for problem in found(policies, text)), [
        str(problem)[:300] for problem in found(policies, text)
    ]


def test_a_problem_in_every_row_is_reported_once(policies: Path) -> None:
    """The rows share their lines."""
    text = steps(CALL, "  each: [{a: ada}, {a: bob}]\n" + BALANCE.format("montly", "1"))
    text = text.replace("id: ada", "id: '${a}'")
    assert len(found(policies, text)) == 1


def test_the_sidecars_own_reasons_have_an_empty_rule(policies: Path) -> None:
    """A fixture expects such a reason with the rule ""."""
    text = steps(CALL.replace("tester", "ghost") + '\n    expect: {rules: [""]}')
    assert found(policies, text) == []


def test_a_directory_with_too_many_tests_is_refused(
    policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs on a ledger of its own, twice."""
    monkeypatch.setattr(fixtures, "MAX_TESTS", 3)
    text = "tests:\n- name: n${a}\n  each: [{a: 1}, {a: 2}, {a: 3}, {a: 4}]\n  steps:\n  - advance: 1s\n"
    assert [problem.message for problem in found(policies, text)] == ["has more than 3 tests"]


def test_reading_fixtures_ends_in_time(policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is reported as a problem."""
    monkeypatch.setattr("sidecar.policy.files.timeout.MAX_LOAD_SECONDS", 0.2)
    text = "tests:\n" + "- {name: a, steps: [{advance: 1s}]}\n" * 20_000
    (policies / "x_test.yaml").write_text(text)
    assert "takes longer than 0.2 s" in str(fixtures.read(policies)[1][0])


def test_a_fixture_name_that_cannot_be_printed_is_reported(policies: Path) -> None:
    """Its problems would be on lines of their own."""
    (policies / os.fsdecode(b"\xff_test.yaml")).write_text("tests: 1\n")
    assert r"\udcff_test.yaml:1:1: " in str(fixtures.read(policies)[1][0])
