"""`*_test.yaml`: sequences of steps that a policy directory carries with it."""

import os
from pathlib import Path

import pytest
from support.policies import ALLOW_ALL, SHIPPED, THREE_PRICES, deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.trace import RuleTraces
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.coverage import Coverage
from sidecar.policy_tools.testing.runner import Mismatch, run_fixtures

STARTER = Path(__file__).parents[2] / "sidecar" / "starter"
CALL = "authorize: {principal: {id: ada, role: tester, workspace: lab}, model: small-1}"


def mismatches(directory: Path, steps: str, engine: str = "cel-cpp") -> list[tuple[str, str, str]]:
    """Run one test; return what did not come as expected."""
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n{steps}")
    found, problems = fixtures.read(directory)
    assert problems == []
    (outcome,) = run_fixtures(policy_set.load(directory, engine), found)
    return [(m.what, m.expected, m.actual) for m in outcome.mismatches]


def not_covered(directory: Path, engine: str = "cel-cpp") -> list[tuple[str, str, list[str]]]:
    """Run all tests, which have to pass; return what they do not cover."""
    policy = policy_set.load(directory, engine)
    found, problems = fixtures.read(directory)
    assert problems == []
    results = list(run_fixtures(policy, found))
    assert [result.fixture.name for result in results if result.mismatches] == []
    coverage = Coverage(RuleTraces(policy))
    coverage.record(results)
    missing = [(i.rule, i.part.text, i.missing) for i in coverage.items if i.missing]
    assert (coverage.percent() == 100) is (not missing)
    return missing


@pytest.mark.parametrize("directory", [SHIPPED, STARTER], ids=lambda path: path.name)
def test_the_fixtures_of_a_set_that_is_shipped_cover_it(directory: Path, engine: str) -> None:
    """Every condition is tested true and false, and every limit with room and without."""
    assert not_covered(directory, engine) == []


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"x": deny("request.batch")}, [("x", "request.batch", ["true"])]),
        ({"x": deny("!request.batch", mode="shadow")}, [
            ("x", "!request.batch", ["false"]), ("x", "request.batch", ["true"])]),
        ({"x": deny("request.batch ? request.pages > 1 : false")}, [
            ("x", "request.batch ? request.pages > 1 : false", ["true"]),
            ("x", "request.batch", ["true"]), ("x", "request.pages > 1", ["true", "false"])]),
        ({"x": limit("request.batch ? 5 : 6")}, [
            ("x", "request.batch", ["true"]), ("x", "request.batch ? 5 : 6", ["refuses"])]),
        ({"x": limit("5")}, [("x", "5", ["refuses"])]),
        ({"x": limit("0", extra="// mode: shadow\n")}, [("x", "0", ["fits"])]),
        ({"x": limit("unlimited")}, [("x", "unlimited", ["fits", "refuses"])]),
        ({"x": limit("100", meter="tokens"), "allow_all": ALLOW_ALL + "&& !request.batch\n"}, [
            ("allow-all", "true && !request.batch", ["false"]),
            ("allow-all", "!request.batch", ["false"]),
            ("allow-all", "request.batch", ["true"]), ("x", "100", ["fits"])]),
        ({"x": limit("100", meter="tokens"), "y": limit("5")}, [
            ("x", "100", ["fits"]), ("y", "5", ["fits", "refuses"])]),
        ({"allow_all": ALLOW_ALL.replace("true", "request.batch")}, [
            ("allow-all", "request.batch", ["true"])]),
    ],
)  # fmt: skip
def test_coverage_has_every_condition_and_every_limit_both_ways(
    rules: dict[str, str], expected: list[tuple[str, str, list[str]]], tmp_path: Path
) -> None:
    """A rule of one bool counts, and a limit that no test sees refuse is not covered."""
    directory = minimal(tmp_path / "p", **rules)
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n  - {CALL}\n")
    assert not_covered(directory) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("request.batch || request.pages > 1", [("request.pages > 1", ["true"])]),
        ("request.batch && request.pages > 1", [("request.pages > 1", ["false"])]),
        ("request.batch ? request.pages > 1 : request.pages > 2", [
            ("request.pages > 1", ["false"]), ("request.pages > 2", ["true"])]),
        ("!(request.batch || request.choices > 5 || request.pages > 1)", [
            ("request.choices > 5", ["true"]), ("request.pages > 1", ["true"])]),
    ],
)  # fmt: skip
def test_a_condition_that_another_one_decides_for_is_not_covered(
    body: str, expected: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    """What comes after a condition counts only in calls where the condition leaves it open."""
    directory = minimal(tmp_path / "p", x=deny(body, mode="shadow"))
    estimate = "estimate: {input_tokens: 1, max_output_tokens: 1, batch: true, pages: 5}"
    larger = CALL.replace("model: small-1}", f"model: small-1, {estimate}}}")
    steps = "".join(f"  - {call}\n    expect: {{effect: allow}}\n" for call in (CALL, larger))
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n{steps}")
    assert [(text, missing) for _, text, missing in not_covered(directory)] == expected


def test_a_rule_knows_business_hours_weekends_and_a_holiday(tmp_path: Path) -> None:
    """The zone's summer time included: 08:30 in Paris is 06:30 UTC in July."""
    body = """workspace.name == "lab" &&
        (now.getDayOfWeek("Europe/Paris") in [0, 6] ||
         now.getHours("Europe/Paris") * 60 + now.getMinutes("Europe/Paris") < 510 ||
         now.getHours("Europe/Paris") >= 18 ||
         now.getMonth("Europe/Paris") == 11 && now.getDate("Europe/Paris") == 25)"""
    directory = minimal(tmp_path / "p", hours=deny(body))
    (directory / "x_test.yaml").write_text(f"""
tests:
- name: a call at ${{when}}
  each:
  - {{when: 2026-11-10T07:29:59Z, reasons: [NO]}}
  - {{when: 2026-11-10T07:30:00Z, reasons: []}}
  - {{when: 2026-11-10T16:59:59Z, reasons: []}}
  - {{when: 2026-11-10T17:00:00Z, reasons: [NO]}}
  - {{when: 2026-07-10T06:29:59Z, reasons: [NO]}}
  - {{when: 2026-07-10T06:30:00Z, reasons: []}}
  - {{when: 2026-11-14T10:00:00Z, reasons: [NO]}}
  - {{when: 2026-12-24T10:00:00Z, reasons: []}}
  - {{when: 2026-12-25T10:00:00Z, reasons: [NO]}}
  at: ${{when}}
  steps:
  - {CALL}
    expect: {{reasons: "${{reasons}}"}}
""")
    assert [missing for missing in not_covered(directory) if missing[0] == "hours"] == [
        ("hours", 'workspace.name == "lab"', ["false"])
    ]


def test_a_limit_that_denies_for_its_rule_alone_is_not_covered(tmp_path: Path) -> None:
    """A limit is not reached where a rule denies, and one that fails refuses nothing."""
    directory = minimal(
        tmp_path / "p", no=deny("true"), x=limit('{"a": 1}[request.region]'), y=limit("5")
    )
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n  - {CALL}\n")
    assert not_covered(directory) == [
        ("x", '{"a": 1}[request.region]', ["fits", "refuses"]),
        ("y", "5", ["fits", "refuses"]),
    ]


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
        ("warnings: [MODEL_RETIRES]", ("warnings", "MODEL_RETIRES", "")),
        ("fitting_max_output_tokens: 5", ("fitting_max_output_tokens", "5", "0")),
        ("fitting_models: [free-1]", ("fitting_models", "free-1", "")),
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


def test_a_test_can_expect_what_would_fit_a_budget(engine: str, tmp_path: Path) -> None:
    """The models in their order, the lowest cost first; nothing where a rule denies."""
    cent = limit("0.01", meter="cost", window="total")
    directory = minimal(
        tmp_path / "p", models_yaml=THREE_PRICES, cent=cent, no_batch=deny("request.batch")
    )
    estimate = "estimate: {input_tokens: 1, max_output_tokens: 5000}"
    call = CALL.replace("small-1}", f"dear-1, {estimate}}}")
    steps = f"""
  - {call}
    expect: {{reasons: [LARGER_THAN_BUDGET, TOO_MUCH], warnings: [],
             fitting_max_output_tokens: 999, fitting_models: [cheaper-1, cheap-1]}}
  - {call.replace("5000}", "5000, batch: true}")}
    expect: {{reasons: [NO], fitting_max_output_tokens: 0, fitting_models: []}}
  - {call.replace("dear-1", "cheap-1")}
    expect: {{effect: allow, warnings: [MODEL_RETIRES], fitting_models: []}}
"""
    assert mismatches(directory, steps, engine) == []
    wrong = f"  - {call}\n    expect: {{fitting_models: [cheap-1, cheaper-1]}}\n"
    assert mismatches(directory, wrong, engine) == [
        ("fitting_models", "cheap-1, cheaper-1", "cheaper-1, cheap-1")
    ]


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
