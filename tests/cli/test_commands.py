"""The command line, run as people and jobs run it."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.commands import sidecar, started
from support.policies import ROLES, SHIPPED, deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, principal

from sidecar.policy.cel.variables import MESSAGES

STARTER = SHIPPED.parent / "sidecar" / "starter"
Start = Callable[..., RunningSidecar]


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("check",),
        ("fmt",),
        ("list",),
        ("init",),
        ("schema",),
        ("diff",),
        ("explain",),
        ("test",),
        ("budgets",),
        ("spend",),
        ("ledger", "verify"),
        ("ledger", "backup"),
        ("ledger", "restore"),
        ("ledger", "prune"),
        ("ledger", "compact"),
        ("ledger", "holds"),
        ("ledger", "export"),
        ("ledger", "adjust"),
        ("ledger", "set-time"),
        ("ledger", "release"),
        ("fleet", "init"),
        ("fleet", "status"),
        ("fleet", "adjust"),
        ("fleet", "forget"),
        ("fleet", "leave"),
        ("fleet", "prune"),
        ("fleet", "rejoin"),
        ("sign",),
        ("verify",),
        ("status",),
        ("reload",),
    ],
)
def test_help_explains_each_command_with_an_example(command: tuple[str, ...]) -> None:
    """--help exits 0 and shows how to call it; which each can that is loaded alone."""
    code, out, _ = started(*command, "--help")
    assert code == 0
    assert not command or "Example:" in out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("serve",), "Missing option"),
        (("serve", "--policies", "x", "--ledger", "y", "--no-such-flag"), "No such option"),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--time-zone", "Mars/North"), "no such zone"),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--listen", "0.0.0.0:5"), "not a loopback"),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--listen", "example.com:5"), "not a loopback"),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--listen", "127.0.0.1"), "not HOST:PORT"),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--listen", "unix:"), "needs a path"),
        (
            ("serve", "--policies", SHIPPED, "--ledger", "y", "--listen", "unix:/tmp/a%20b.sock"),
            "must not have %, ? or # in it",
        ),
        (("serve", "--policies", SHIPPED, "--ledger", "y", "--hold-ttl", "0"), "Invalid value"),
        (("check", SHIPPED, "--engine", "opa"), "Invalid value"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_2_and_says_what_is_wrong(
    args: tuple[object, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 is for the caller's mistakes."""
    monkeypatch.chdir(tmp_path)
    code, _, err = sidecar(*args)
    assert (code, expected in err) == (2, True), err


def test_check_passes_the_shipped_policies() -> None:
    """Exit 0, and the digest that answers will carry."""
    code, out, _ = sidecar("check", SHIPPED)
    assert (code, "17 rules (3 allow, 9 deny, 5 limit), digest " in out) == (0, True)
    assert sidecar("check", SHIPPED, "--format", "json")[:2] == (0, "[]\n")


def test_check_reports_every_problem_and_exits_1(tmp_path: Path) -> None:
    """Text for people, JSON for programs."""
    directory = minimal(tmp_path / "p", bad=deny("principal.roel == 'x'"))
    code, out, err = sidecar("check", directory)
    assert (code, err.startswith("\n1 error; ")) == (1, True)
    assert "bad.cel:8:10: no field 'roel' in Principal" in out
    code, out, _ = sidecar("check", directory, "--format", "json")
    (problem,) = json.loads(out)
    assert (code, Path(problem["file"]).name, problem["line"], problem["column"]) == (
        1,
        "bad.cel",
        8,
        10,
    )


def test_fmt_check_and_diff_write_nothing_and_exit_1(tmp_path: Path) -> None:
    """They show what would change."""
    policies = minimal(tmp_path / "p", big=deny("request.tokens>5"))
    before = (policies / "big.cel").read_text()
    code, out, _ = sidecar("fmt", policies, "--check")
    assert (code, f"would format {policies / 'big.cel'}" in out) == (1, True), out
    code, out, _ = sidecar("fmt", policies, "--diff")
    assert (code, "-request.tokens>5" in out, "+request.tokens > 5" in out) == (1, True, True)
    assert (policies / "big.cel").read_text() == before

    assert sidecar("fmt", policies)[0] == 0
    assert "request.tokens > 5\n" in (policies / "big.cel").read_text()
    code, out, _ = sidecar("fmt", policies, "--check")
    assert (code, "0 not in canonical layout" in out) == (0, True), out


def test_fmt_writes_nowhere_else(tmp_path: Path) -> None:
    """A link or a pipe that waits in the directory is not followed."""
    policies = minimal(tmp_path / "p", big=deny("1>2"))
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    for name in (".big.cel.new", ".big.cel"):
        (policies / name).symlink_to(precious)
    os.mkfifo(policies / ".big.cel.tmp")
    assert sidecar("fmt", policies)[0] == 0
    assert (policies / "big.cel").read_text().endswith("\n1 > 2\n")
    assert not (policies / "big.cel").is_symlink()
    assert precious.read_text() == "precious"
    assert len(list(policies.iterdir())) == 8  # nothing is left behind


def test_fmt_leaves_a_wrong_rule_alone_and_shows_why(tmp_path: Path) -> None:
    """The others are formatted."""
    policies = minimal(tmp_path / "p", wrong=deny("request.modle==1"), big=deny("1>2"))
    code, out, err = sidecar("fmt", policies)
    assert code == 1
    assert f"formatted {policies / 'big.cel'}" in out
    assert "no field 'modle'" in err
    assert "request.modle==1" in (policies / "wrong.cel").read_text()


@pytest.mark.parametrize("directory", [SHIPPED, STARTER])
def test_what_is_shipped_is_in_canonical_layout(directory: Path) -> None:
    """The shipped rules pass `sidecar fmt --check`."""
    assert sidecar("fmt", directory, "--check")[0] == 0


def test_test_runs_the_fixtures_on_both_evaluators() -> None:
    """Exit 0, a count, and with --coverage what was never seen."""
    code, out, _ = sidecar("test", SHIPPED, "--coverage")
    assert code == 0
    assert "52 passed, 0 failed, on cel-cpp and cel-python" in out
    assert "coverage: 100 %" in out
    code, out, _ = sidecar("test", SHIPPED, "--filter", "MINUTE")
    assert (code, out) == (0, "1 passed, 0 failed, on cel-cpp and cel-python\n")


def test_test_shows_expected_and_actual_with_the_values_of_the_rules(tmp_path: Path) -> None:
    """Exit 1; the place, what was expected, what came, and why, part by part."""
    directory = minimal(tmp_path / "p", small=deny("request.tokens > 150"))
    (directory / "x_test.yaml").write_text(
        "tests:\n- name: small calls pass\n  steps:\n"
        "  - authorize: {principal: {id: a, role: tester, workspace: lab}, model: small-1}\n"
        "    expect: {effect: allow}\n"
    )
    code, out, _ = sidecar("test", directory)
    assert code == 1
    assert "FAILED small calls pass" in out
    assert "x_test.yaml:4: effect (on cel-cpp and cel-python)" in out
    assert "expected: allow" in out
    assert "request.tokens > 150 = true" in out
    assert "request.tokens = 200" in out
    code, out, _ = sidecar("test", directory, "--format", "json", "--coverage")
    report = json.loads(out)
    assert (code, report["tests"][0]["passed"]) == (1, False)
    assert [part["never"] for part in report["not_covered"]] == [["false"]]
    code, out, _ = sidecar("test", directory, "--format", "junit")
    suite = ET.fromstring(out)  # noqa: S314 - our own output
    assert (code, suite.get("failures")) == (1, "1")


def test_test_without_tests_exits_1(tmp_path: Path) -> None:
    """No tests is not taken for passed tests."""
    code, _, err = sidecar("test", minimal(tmp_path / "p"))
    assert (code, "no tests" in err) == (1, True)


def test_check_warns_and_with_strict_fails(tmp_path: Path) -> None:
    """A warning passes without --strict, which is for CI, as --format github is."""
    directory = minimal(tmp_path / "p", x=deny('role.name == "ghost"'))
    code, out, _ = sidecar("check", directory)
    assert (code, "x.cel:8:1: warning: " in out, "2 warnings\n" in out) == (0, True, True)
    assert sidecar("check", directory, "--strict")[0] == 1
    code, out, _ = sidecar("check", directory, "--format", "github")
    assert (code, out.startswith("::warning file=")) == (0, True)
    assert ",line=8,col=1,title=constant-rule::with these data files the rule never denies" in out


def test_check_writes_sarif(tmp_path: Path) -> None:
    """Code scanning gets errors and warnings with their places."""
    directory = minimal(tmp_path / "p", x=deny('role.name == "ghost"'))
    code, out, _ = sidecar("check", directory, "--format", "sarif")
    result = json.loads(out)["runs"][0]["results"][0]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert (code, result["ruleId"], result["level"]) == (0, "constant-rule", "warning")
    assert region == {"startLine": 8, "startColumn": 1}


def test_check_checks_fixtures_too(tmp_path: Path) -> None:
    """A fixture that cannot be read is an error of the directory."""
    directory = minimal(tmp_path / "p")
    (directory / "x_test.yaml").write_text("tests:\n- nam: a\n")
    code, out, _ = sidecar("check", directory)
    assert (code, "x_test.yaml:2:3: unknown key 'nam'" in out) == (1, True)


def test_init_writes_a_set_that_passes_check_and_test(tmp_path: Path) -> None:
    """The starter set passes check --strict, covers every condition, and overwrites nothing."""
    directory = tmp_path / "mine"
    assert sidecar("init", directory)[0] == 0
    code, out, _ = sidecar("check", directory, "--strict")
    assert (code, ": good" in out) == (0, True)
    code, out, _ = sidecar("test", directory, "--coverage")
    assert (code, "coverage: 100 %" in out) == (0, True)
    code, _, err = sidecar("init", directory)
    assert (code, "exists, and is not empty" in err) == (2, True)


def test_schema_describes_every_variable_and_the_yaml_files() -> None:
    """Each field that a rule can read has a type and a comment; editors get JSON Schema."""
    code, out, _ = sidecar("schema", "--format", "json")
    found = {row["path"]: row for row in json.loads(out)}
    expected = {
        f"{name}.{field.name}" for name, message in MESSAGES.items() for field in message.fields
    }
    assert (code, expected - found.keys()) == (0, set())
    assert [path for path, row in found.items() if not row["comment"]] == []
    assert found["workspace.services"]["type"] == "map(string, Service)"
    for subject, key in (("data", "roles"), ("fixtures", "tests")):
        code, out, _ = sidecar("schema", subject)
        assert (code, key in json.loads(out)["properties"]) == (0, True)


ANALYST = {"id": "ada", "role": "analyst", "workspace": "dev-workspace"}


def test_explain_shows_why_and_the_way_out(tmp_path: Path) -> None:
    """Exit 1 when denied; text for people, the contract's JSON for programs."""
    path = tmp_path / "request.json"
    call = {"principal": ANALYST, "model": "mistral-large-latest", "estimate": {"inputTokens": 9}}
    path.write_text(json.dumps(call))
    code, out, _ = sidecar("explain", SHIPPED, "--request", path)
    assert code == 1
    assert "403 MODEL_NOT_ALLOWED (role-models)" in out
    assert '"*" in role.allowed_models = false' in out
    assert "To be allowed, one of:\n  - call mistral-small-2603 instead" in out
    code, out, _ = sidecar("explain", SHIPPED, "--request", path, "--format", "json")
    assert (code, json.loads(out)["suggestions"]) == (1, ["call mistral-small-2603 instead"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{", "Failed to load JSON"), ('{"modell": "x"}', "modell"), ("{}", "principal is missing")],
)
def test_explain_of_an_invalid_request_exits_2(text: str, expected: str, tmp_path: Path) -> None:
    """The error names the file and its problem."""
    path = tmp_path / "request.json"
    path.write_text(text)
    code, _, err = sidecar("explain", SHIPPED, "--request", path)
    assert (code, expected in err, str(path) in err) == (2, True, True), err


def test_diff_shows_what_changes_for_whom(tmp_path: Path) -> None:
    """Exit 0 when nothing does, 1 with a table when something does; JSON for programs."""
    old = minimal(tmp_path / "old")
    code, out, _ = sidecar("diff", old, old)
    assert (code, out) == (0, "0 changes: both directories decide the same\n")
    same = minimal(tmp_path / "same", roles_yaml=f"{ROLES}# a comment\n")
    code, out, _ = sidecar("diff", old, same, "--at", "2026-11-10T13:00:00+01:00")
    assert (code, out) == (0, "0 changes, in 2 cases at 2026-11-10T12:00:00Z\n")
    new = minimal(tmp_path / "new", no=deny("true"))
    code, out, _ = sidecar("diff", old, new)
    assert (code, "rules added: no" in out, "deny: NO (no)" in out) == (1, True, True)
    code, out, _ = sidecar("diff", old, new, "--format", "json")
    assert (code, json.loads(out)["changes"][0]["role"]) == (1, "tester")


@pytest.mark.parametrize(
    ("condition", "more", "expected"),
    [
        ("size(principal.labels) > 9", "8", "labels in a way that cannot be tried exhaustively"),
        ("now.getHours() > 19", "18", "now; only that moment was tried"),
    ],
)
def test_diff_says_what_is_not_exact(
    condition: str, more: str, expected: str, tmp_path: Path
) -> None:
    """Where a changed rule may change more than what was tried, the rule is named."""
    old = minimal(tmp_path / "old", no=deny(condition))
    new = minimal(tmp_path / "new", no=deny(condition.replace(condition[-2:].strip(), more)))
    code, out, _ = sidecar("diff", old, new, "--at", "2026-11-10T12:00:00Z")
    assert (code, f"not exact: rule no reads {expected}" in out) == (1, True), out
    assert out.endswith("0 changes, in 2 cases at 2026-11-10T12:00:00Z\n")
    code, out, _ = sidecar("diff", old, new, "--format", "json", "--at", "2026-11-10T12:00:00Z")
    found = json.loads(out)
    assert (code, found["not_exact"][0]["rule"]) == (1, "no")
    assert found["at"] == "2026-11-10T12:00:00Z"


def test_diff_explains_some_and_shows_what_is_spent(tmp_path: Path) -> None:
    """Words that are not plain have a legend; spend has a column where rules read it."""
    old = minimal(tmp_path / "old", calls=limit("9"))
    rule = deny(
        '("a" in principal.labels) != ("b" in principal.labels) || spend["calls"].fraction > 0.5'
    )
    code, out, _ = sidecar("diff", old, minimal(tmp_path / "new", calls=limit("9"), no=rule))
    assert (code, "any (some)" in out, "(some): " in out, "calls: just over 50 %" in out) == (
        1,
        True,
        True,
        True,
    )


@pytest.mark.parametrize("broken", ["old", "new"])
def test_diff_of_what_does_not_load_exits_2(broken: str, tmp_path: Path) -> None:
    """An error is no difference: 1 says that something differs."""
    minimal(tmp_path / "old")
    minimal(tmp_path / "new", no=deny("true"))
    (tmp_path / broken / "roles.yaml").write_text("roles: [")
    code, out, err = sidecar("diff", tmp_path / "old", tmp_path / "new")
    assert (code, out, f"{broken}/roles.yaml" in err) == (2, "", True), err
    code, _, err = sidecar("diff", tmp_path / "missing", tmp_path / "new")
    assert (code, "cannot be read" in err) == (2, True), err


def test_diff_shows_what_is_written_differently(tmp_path: Path) -> None:
    """Exit 1, also where no decision changes."""
    old = minimal(tmp_path / "old", no=deny("false"))
    keys = "keys:\n  a: {workspace: lab}\n"
    new = minimal(tmp_path / "new", no=deny("false", message="never"), keys_yaml=keys)
    code, out, _ = sidecar("diff", old, new)
    assert code == 1
    assert "rule no: message: no → never\nkey a: added\n0 changes, in " in out


def test_diff_shows_its_progress_on_a_terminal_alone(tmp_path: Path) -> None:
    """On standard error, so that JSON on standard output stays JSON."""
    old, new = minimal(tmp_path / "old"), minimal(tmp_path / "new", no=deny("true"))
    command = [sys.executable, "-m", "sidecar", "diff", str(old), str(new), "--format", "json"]
    controller, terminal = pty.openpty()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, check=False)  # noqa: S603
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert ("evaluating every rule" in shown, len(json.loads(done.stdout)["changes"])) == (True, 1)
    code, _, err = sidecar("diff", old, new)
    assert (code, err) == (1, "")


def test_diff_prints_names_and_values_as_they_are(tmp_path: Path) -> None:
    """A name is no markup, and a value no control of the terminal."""
    old = minimal(tmp_path / "old", roles_yaml=ROLES.replace("tester", '"[/x]"'))
    labels = '    labels: {note: "\\e[31mred\\nline"}\n'
    new = minimal(tmp_path / "new", roles_yaml=ROLES.replace("tester", '"[bold]"') + labels)
    code, out, _ = sidecar("diff", old, new)
    assert (code, "│ [/x]   │" in out, "│ [bold] │" in out) == (1, True, True), out
    old = minimal(tmp_path / "old", roles_yaml=ROLES)
    new = minimal(tmp_path / "new", roles_yaml=ROLES + labels)
    _, out, _ = sidecar("diff", old, new)
    assert "labels.note: (absent) → \\x1b[31mred\\nline\n" in out


def test_diff_shows_a_long_list_by_what_is_new_and_gone(tmp_path: Path) -> None:
    """One name of hundreds is found without reading them all."""
    names = ", ".join(f"model-{n}" for n in range(100))
    old, new = (
        minimal(tmp_path / name, roles_yaml=ROLES.replace('"*"', f"{names}{more}"))
        for name, more in (("old", ""), ("new", ", another"))
    )
    _, out, _ = sidecar("diff", old, new)
    assert "role tester: allowed_models: added another\n" in out


def test_diff_shows_who_changes_alike_in_one_row(tmp_path: Path) -> None:
    """Roles and workspaces share rows; JSON has one for each."""
    roles = ROLES + ROLES.replace("roles:", "").replace("tester", "other")
    old = minimal(tmp_path / "old", roles_yaml=roles)
    new = minimal(tmp_path / "new", roles_yaml=roles, no=deny("true"))
    _, out, _ = sidecar("diff", old, new)
    assert "│ other, tester │ lab" in out
    _, out, _ = sidecar("diff", old, new, "--format", "json")
    assert [change["role"] for change in json.loads(out)["changes"]] == ["other", "tester"]


@pytest.mark.parametrize("at", ["yesterday", "2026-11-10T12:00:00", ""])
def test_diff_at_an_invalid_time_exits_2(at: str) -> None:
    """A time without a zone is not one."""
    code, _, err = sidecar("diff", SHIPPED, SHIPPED, "--at", at)
    assert (code, "with its zone" in err) == (2, True), err


def test_list_shows_every_rule(tmp_path: Path) -> None:
    """One table for people, JSON for programs."""
    code, out, _ = sidecar("list", SHIPPED)
    assert code == 0
    assert "role-models" in out
    code, out, _ = sidecar("list", SHIPPED, "--format", "json")
    rules = {rule["id"]: rule for rule in json.loads(out)}
    assert (code, len(rules)) == (0, 17)
    assert rules["role-daily-tokens"]["per"] == "principal.id"
    assert sidecar("list", tmp_path)[0] == 1


def test_serve_with_wrong_policies_says_all_that_is_wrong_and_exits_1(tmp_path: Path) -> None:
    """A sidecar never starts on half a policy set."""
    directory = minimal(tmp_path / "p", bad=deny("tru"), worse="true")
    ledger = tmp_path / "l.sqlite"
    code, _, err = sidecar("serve", "--policies", directory, "--ledger", ledger)
    assert code == 1
    assert "bad.cel:8:1" in err
    assert "worse.cel:1:1: the rule has no header" in err
    assert not ledger.exists()


def test_every_flag_is_an_environment_variable_too(start_sidecar: Start) -> None:
    """A deployment can be configured without arguments."""
    started = start_sidecar(None, env={"SIDECAR_ENGINE": "cel-python", "SIDECAR_TIME_ZONE": "UTC"})
    assert "cel-python" in started.log
    code, _, _ = sidecar("ledger", "verify", SIDECAR_LEDGER=str(started.ledger))
    assert code == 0


def test_budgets_shows_what_is_left(start_sidecar: Start) -> None:
    """A table for people, JSON for programs, from a running sidecar."""
    started = start_sidecar()
    started.stub.Authorize(chat())
    who = ("--principal", "ada", "--role", "developer", "--workspace", "dev-workspace")
    code, out, _ = sidecar("budgets", *who, "--address", started.addresses[0])
    assert code == 0
    assert "role-daily-tokens" in out
    assert "499,800" in out
    code, out, _ = sidecar(
        "budgets", *who, "--format", "json", SIDECAR_ADDRESS=started.addresses[0]
    )
    left = {budget["rule"]: budget["remaining"] for budget in json.loads(out)["budgets"]}
    assert (code, left["role-daily-tokens"]) == (0, 499_800)


def test_budgets_of_an_unknown_role_exits_1(start_sidecar: Start) -> None:
    """A misspelt role is an error, not only an empty table."""
    who = ("--principal", "ada", "--role", "ghost", "--workspace", "dev-workspace")
    code, _, err = sidecar("budgets", *who, "--address", start_sidecar().addresses[0])
    assert (code, "ROLE_UNKNOWN: no role named ghost" in err) == (1, True)


def test_budgets_without_a_sidecar_names_the_address() -> None:
    """The address is in the error."""
    who = ("--principal", "a", "--role", "b", "--workspace", "c", "--address", "127.0.0.1:1")
    code, _, err = sidecar("budgets", *who)
    assert (code, "127.0.0.1:1: " in err, "does not answer: UNAVAILABLE" in err) == (1, True, True)


def test_verify_works_on_a_ledger_in_use(start_sidecar: Start) -> None:
    """The sidecar need not stop for it."""
    started = start_sidecar()
    started.stub.Authorize(chat(principal(id="x")))
    code, out, _ = sidecar("ledger", "verify", "--ledger", started.ledger)
    counted = "1 decision, 0 denials, 1 hold, 5 budgets, 0 adjustments, 0 time corrections, 0 dropped denials: clean"
    assert (code, out.splitlines()[0]) == (0, f"{started.ledger}: {counted}")


def test_verify_names_the_promise_that_is_broken_and_exits_1(start_sidecar: Start) -> None:
    """L2: a counter changed by hand is found, in text and in JSON."""
    started = start_sidecar()
    started.stub.Authorize(chat())
    started.stop()
    with sqlite3.connect(started.ledger) as connection:
        connection.execute("UPDATE budgets SET spent = spent + 7 WHERE rule = 'role-daily-tokens'")
    connection.close()
    code, out, _ = sidecar("ledger", "verify", "--ledger", started.ledger)
    assert code == 1
    assert "L2 a budget's spent is not its opening balance, closed holds and adjustments" in out
    code, out, _ = sidecar("ledger", "verify", "--ledger", started.ledger, "--format", "json")
    assert (code, len(json.loads(out)["findings"])) == (1, 1)


@pytest.mark.parametrize("content", [None, b"", b"no ledger " * 500])
def test_verify_of_a_missing_ledger_says_so(content: bytes | None, tmp_path: Path) -> None:
    """A wrong path is an error, and no file is created."""
    path = tmp_path / "x.sqlite"
    if content is not None:
        path.write_bytes(content)
    code, _, err = sidecar("ledger", "verify", "--ledger", path)
    assert (code, str(path) in err) == (1, True)
    assert path.exists() == (content is not None)
