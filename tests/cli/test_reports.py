"""What check, test and explain print: for people, for editors, for code scanning and for CI."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.commands import sidecar
from support.policies import SHIPPED, deny, limit, minimal

ANALYST = {"id": "ada", "role": "analyst", "workspace": "dev-workspace"}
CALL = "authorize: {principal: {id: a, role: tester, workspace: lab}, model: small-1}"


def tests_of(directory: Path, text: str) -> None:
    """Write one test of one step, which begins at line 4."""
    (directory / "x_test.yaml").write_text(f"tests:\n- name: one\n  steps:\n  - {text}\n")


def test_a_file_name_injects_no_workflow_commands(tmp_path: Path) -> None:
    """GitHub reads each line that begins with two colons, and names may hold any text."""
    directory = minimal(tmp_path / "p,a:b%")
    (directory / "x\n::warning title=hi::injected\nz.cel").write_text("true\n")
    (directory / os.fsdecode(b"\xff.cel")).write_text("true\n")
    for form in ("github", "text", "json", "sarif"):
        code, out, err = sidecar("check", directory, "--format", form)
        assert (code, "Traceback" in err) == (1, False)
        assert not any(line.startswith("::warning") for line in out.splitlines()), out
    _, out, _ = sidecar("check", directory, "--format", "github")
    assert all(line.startswith("::error file=") for line in out.splitlines())
    assert "p%2Ca%3Ab%25/" in out


def test_annotations_name_the_warning(tmp_path: Path) -> None:
    """The title is what docs/lints.md explains."""
    directory = minimal(tmp_path / "p", x=deny('role.name == "testr"'))
    _, out, _ = sidecar("check", directory, "--format", "github")
    assert ",line=8,col=14,title=no-such-name::no role is named 'testr'; did you mean" in out


def test_sarif_explains_each_warning(tmp_path: Path) -> None:
    """Code scanning shows what to do, and files as URIs."""
    directory = minimal(tmp_path / "a b", x=deny('role.name == "testr"'))
    (run,) = json.loads(sidecar("check", directory, "--format", "sarif")[1])["runs"]
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert rules.keys() == {"constant-rule", "no-such-name"}
    assert rules["no-such-name"]["help"]["text"].startswith("Fix the name")
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.endswith("/a%20b/x.cel")


def test_json_says_how_bad_a_problem_is(tmp_path: Path) -> None:
    """A program does not have to know that errors have no lint."""
    directory = minimal(tmp_path / "p", x=deny('role.name == "testr"'))
    found = json.loads(sidecar("check", directory, "--format", "json")[1])
    assert {problem["severity"] for problem in found} == {"warning"}
    (directory / "y.cel").write_text("true\n")
    found = json.loads(sidecar("check", directory, "--format", "json")[1])
    assert {problem["severity"] for problem in found} == {"error"}


def test_check_says_that_warnings_wait_for_errors(tmp_path: Path) -> None:
    """A directory with an error does not look like one without warnings."""
    directory = minimal(tmp_path / "p", x=deny('role.name == "testr"'), y="true\n")
    code, _, err = sidecar("check", directory)
    assert (code, err) == (1, "\n1 error; warnings are looked for once rules and data load\n")


def test_check_stops_looking_for_warnings_after_a_timeout(tmp_path: Path) -> None:
    """It then fails, since the warnings are not complete."""
    program = (
        "import functools, sys, time; from sidecar.cli import check, entry;"
        "check.with_timeout = functools.partial(check.with_timeout, seconds=1);"
        "check.lint = lambda *_: [time.sleep(0.01) for _ in range(6000)];"
        f"sys.argv = ['sidecar', 'check', {str(minimal(tmp_path / 'p'))!r}]; entry.main()"
    )
    code, out, _ = sidecar(program=program)
    assert (code, "takes longer than 1 s to look for warnings" in out) == (1, True), out


@pytest.mark.parametrize("command", ["check", "test"])
def test_check_and_test_report_a_wrong_name_in_a_fixture(command: str, tmp_path: Path) -> None:
    """At its place, with the name that was probably meant."""
    directory = minimal(tmp_path / "p", daily=limit("5"))
    tests_of(directory, CALL + "\n    expect: {remaining: {dayly: 5}}")
    code, out, err = sidecar(command, directory)
    assert (code, "x_test.yaml:5:26: no limit is named 'dayly'" in out + err) == (1, True)
    assert "did you mean 'daily'?" in out + err


def test_formats_of_one_command_do_not_break_another(tmp_path: Path) -> None:
    """SIDECAR_FORMAT is for those with text and json; check and test have more, and their own."""
    directory = minimal(tmp_path / "p")
    tests_of(directory, CALL)
    env = {
        "SIDECAR_CHECK_FORMAT": "sarif",
        "SIDECAR_TEST_FORMAT": "junit",
        "SIDECAR_FORMAT": "json",
    }
    assert "runs" in json.loads(sidecar("check", directory, **env)[1])
    assert sidecar("test", directory, **env)[1].startswith("<testsuite")
    assert json.loads(sidecar("list", directory, **env)[1])[0]["id"] == "allow-all"


@pytest.mark.parametrize("form", ["junit", "text"])
def test_coverage_is_never_dropped(form: str, tmp_path: Path) -> None:
    """With junit it goes to standard error, not into the report."""
    directory = minimal(tmp_path / "p", x=deny("request.tokens > 5000"))
    tests_of(directory, CALL)
    code, out, err = sidecar("test", directory, "--coverage", "--format", form)
    text = out if form == "text" else err
    assert (code, "coverage: 66 %\n" in text) == (0, True), text


@pytest.mark.parametrize(("percent", "expected"), [(66, 0), (67, 1)])
def test_coverage_below_a_minimum_fails(percent: int, expected: int, tmp_path: Path) -> None:
    """For CI, without a parser of reports."""
    directory = minimal(tmp_path / "p", x=deny("request.tokens > 5000"))
    tests_of(directory, CALL)
    code, out, err = sidecar("test", directory, "--coverage-min", percent)
    assert (code, "66 %" in out) == (expected, True)
    assert ("--coverage-min requires 67 %\n" in err) == bool(expected)
    assert sidecar("test", directory, "--coverage-min", 101)[0] == 2


def test_coverage_of_some_tests_says_that_it_is_partial(tmp_path: Path) -> None:
    """What --filter leaves out is no gap."""
    directory = minimal(tmp_path / "p", x=deny("request.tokens > 5000"))
    tests_of(directory, CALL)
    _, out, _ = sidecar("test", directory, "--coverage", "-k", "one")
    assert "coverage: 66 % (partial: by the tests that -k chose)" in out


def test_junit_has_each_mismatch_once(tmp_path: Path) -> None:
    """Both engines agree, and a missing result is "none"."""
    directory = minimal(tmp_path / "p", x=deny("true"))
    tests_of(directory, CALL + "\n    expect: {effect: deny, reasons: []}")
    suite = ET.fromstring(sidecar("test", directory, "--format", "junit")[1])  # noqa: S314 - ours
    (failure,) = suite.iter("failure")
    assert failure.text == "line 4: reasons (on cel-cpp and cel-python): expected none, actual NO"


def test_a_test_report_is_xml_whatever_a_name_holds(tmp_path: Path) -> None:
    """XML has no place for control characters."""
    directory = minimal(tmp_path / "p")
    text = f'tests:\n- name: "a\\x01b\\uffff"\n  steps:\n  - {CALL}\n'
    (directory / "x_test.yaml").write_text(text)
    suite = ET.fromstring(sidecar("test", directory, "--format", "junit")[1])  # noqa: S314 - ours
    assert suite[0].get("name") == "a\\x01b\\uffff"


def explained(tmp_path: Path, *args: object, **more: object) -> str:
    """Explain a call that is denied."""
    path = tmp_path / "request.json"
    call = {"principal": ANALYST, "model": "mistral-large-latest", "estimate": {"inputTokens": 9}}
    path.write_text(json.dumps(call | more))
    _, out, err = sidecar("explain", SHIPPED, "--request", path, *args)
    return out + err


def test_explain_begins_with_the_answer_and_the_ways_out(tmp_path: Path) -> None:
    """Then the worst case and the limits, then the rules that spoke; --all shows the others."""
    out = explained(tmp_path)
    order = ["deny\n", "MODEL_NOT_ALLOWED", "To be allowed", "worst case:", "role-daily-tokens of",
             "\nallow-dev-workspace (allow): true", "\nrole-models (deny): true"]  # fmt: skip
    assert sorted(order, key=out.index) == order
    assert "allow-ml-workspace (allow)" not in out
    assert "key-revoked (deny)" not in out
    assert "14 rules without effect: --all shows them" in out
    out = explained(tmp_path, "--all")
    assert "\nallow-ml-workspace (allow): false" in out
    assert "--all" not in out


def test_explain_repeats_no_value_of_an_invalid_request(tmp_path: Path) -> None:
    """Values of a request may be confidential."""
    for more, field in (
        ({"estimate": {"inputTokens": "s3cret"}}, "estimate.inputTokens has a wrong value"),
        ({"principal": ["s3cret"]}, "principal has a wrong value"),
        ({"endpoint": "s3cret"}, "endpoint has a wrong value"),
        ({"holdTtl": "s3cret"}, "holdTtl has a wrong value"),
        ({"principal": {"labels": {"team": {"s3cret": 1}}}}, "principal.labels"),
        ({"modell": "s3cret"}, "has no field 'modell'"),
    ):
        out = explained(tmp_path, **more)
        assert ("s3cret" in out, field in out) == (False, True), out


def test_explain_at_another_time(tmp_path: Path) -> None:
    """Prices and windows depend on the time."""
    out = explained(tmp_path, "--at", "2020-01-01T00:00:00Z")
    assert "MODEL_NOT_PRICED" in out
    for wrong in ("2020-01-01T00:00:00", "soon", "9999-01-01T00:00:00Z"):
        assert "Invalid value" in explained(tmp_path, "--at", wrong)
