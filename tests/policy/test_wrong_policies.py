"""Wrong policies refuse to load, at file:line:column, with the line, a caret and a way out."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.cells import cell_len
from support import policies
from support.commands import sidecar
from support.policies import deny, limit, minimal

from sidecar.policy import policy_set
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.files.timeout import with_timeout

HEADER = "// METADATA\n// effect: deny\n// owner: a@b\n// reason: NO\n// http_status: 403\n"
GOOD = HEADER + "// message: no\n"

REFUSED = [
    "has(spend.daily.used)",
    "[principal].all(p, has(p.key_id))",
    "[principal].all(labels, has(labels.key_id))",
    '["s"].all(labels, has(workspace.services[labels].allowed_models))',
    'role.allowed_models[-1] == "c"',
    'role.allowed_models[request.choices] == "c"',
    'principal.labels.map(k, k)[0] == "b"',
    'principal.labels.filter(k, k != "b")[0] == "b"',
    'duration("1500ms").getMilliseconds() > 1000',
    '(now - timestamp("2026-01-01T00:00:00Z")).getMinutes() == -1',
    'duration("99999999s") + duration("99999999s") > duration("1s")',
    '{"a": principal.labels["nope"]} == {"a": "ml"}',
    'true || [1].map(x, principal.labels["nope"]) == []',
    'false && ["a"].filter(x, principal.labels.nope == x) == []',
    'true || ["a"].exists_one(x, principal.labels[x] == x)',
    "[1, 2].map(x, x > 1, x * 2) == [4]",
    "[[], [1.0], [1]][1] == [[], [1.0], [1]][2]",
    "[[], [1], [1.0]].all(x, x == [] || x == [1])",
    "sidecar.v1.Endpoint.ENDPOINT_CHAT == 1",
    "sidecar.v1.Role == sidecar.v1.Role",
    "int == int",
    "1.0 / -[0.0][1 - 1] < 0.0",
    "1.0 / {1: 0.0}[1] < 0.0",
    "1 % (1 - 1) == 0",
    "1 % role.max_tokens_per_request == 0",
    "(-9223372036854775807 - 1) % -1 == 0",
    "role == role",
    "role in [role, role]",
    "workspace.services == workspace.services",
    "[role.name].exists(role, role == 'x')",
    "now.getHours(principal.id) > 3",
    'now.getHours(principal.labels["tz"]) < 8',
    'now.getHours("Europe/Pariss") > 3',
    'now.getHours("utc") > 3',
    'now.getHours("/etc/localtime") > 3',
    'now.getHours("localtime") > 3',
    'now.getHours("right/Europe/Paris") > 3',
    'now.getHours("+25:00") > 3',
    'now + duration("999999999s") > now',
    'timestamp("2100-01-01T00:00:00Z") > now',
    'principal.id.matches("(?=a)")',
    'principal.id.matches("[")',
    'principal.id.matches("a{1001}")',
    r'principal.id.matches("^[\\pL\\pN._-]{1,64}$")',
]
"""Each was once accepted, and read otherwise by one evaluator, or dear, or sure to fail."""

MIXED = {
    "1 in [true, 'x']": 13,
    "[1, 2.0] == [1, 2]": 5,
    "{'a': true, 'b': 'x'}['a'] == true": 18,
    "principal.role in {'a': 1, 2: 3}": 28,
    "[[1], ['x']] == [[1]]": 7,
    "role.allowed_models.exists(m, m in [m, 1])": 40,
    "[1, 2].all(a, [3].exists(b, [a, b + 1, 'x'] == []))": 40,
    "[true, role.name] == []": 8,
}
"""Where lists and maps of several types have the first item that is not like the others."""

# name, the rule's file, and what the report has to contain
RULES = [
    ("no header", "true\n", ["bad.cel:1:1: the rule has no header", "// METADATA"]),
    ("no effect", "// METADATA\n// owner: a@b\ntrue\n", ["has no 'effect'"]),
    ("unknown effect", "// METADATA\n// effect: denny\n// owner: a@b\ntrue\n",
     ["bad.cel:2:12: 'denny' is not a valid effect", "did you mean 'deny'?"]),
    ("unknown key", GOOD + "// masage: x\ntrue\n",
     ["bad.cel:7:", "unknown key 'masage'", "did you mean 'message'?"]),
    ("duplicate key", GOOD + "// owner: c@d\ntrue\n", ["bad.cel:7:4: 'owner' is there twice"]),
    ("missing key", HEADER + "true\n", ["a rule with effect deny needs 'message'"]),
    ("key of another effect", GOOD + "// window: day\ntrue\n",
     ["'window' is not for effect deny"]),
    ("no key at all", GOOD + "// just a remark\ntrue\n", ["bad.cel:7:1: a header line is"]),
    ("reason not upper snake", GOOD.replace("NO", "no-way") + "true\n",
     ["bad.cel:4:12: 'reason' has to be UPPER_SNAKE"]),
    ("status out of range", GOOD.replace("403", "200") + "true\n",
     ["bad.cel:5:17: 'http_status' has to be"]),
    ("syntax", GOOD + "request.tokens >\n", ["bad.cel:7:17: the expression ends too early", "request.tokens >\n"]),
    ("misspelt field", GOOD + 'principal.roel == "admin"\n',
     ["bad.cel:7:10: no field 'roel' in Principal", "did you mean 'role'?",
      'principal.roel == "admin"', "\n             ^"]),
    ("misspelt variable", GOOD + 'principle.role == "admin"\n',
     ["bad.cel:7:1: no variable 'principle'", "did you mean 'principal'?"]),
    ("wrong types", GOOD + 'request.tokens > "5"\n', ["bad.cel:7:16: '>' does not take an int and a string"]),
    ("not a bool", GOOD + "request.tokens\n", ["bad.cel:7:1: is of type int, but has to be a bool", "request.tokens"]),
    ("not a bool for sure", GOOD + "dyn(true)\n", ["is of type dyn, but has to be a bool"]),
    ("error far down", GOOD + "\n// a remark\ntrue &&\n  role.nmae == role.name\n",
     ["bad.cel:10:7: no field 'nmae' in Role", "did you mean 'name'?"]),
    ("message field", GOOD.replace("message: no", "message: {role.nam} no") + "true\n",
     ["bad.cel:6:18: no field 'nam' in Role"]),
    ("message with half a brace", GOOD.replace("message: no", "message: {role.name no") + "true\n",
     ["bad.cel:6:13: the message has an unmatched brace"]),
    ("message shows labels", GOOD.replace("message: no", "message: {principal.labels.x}") + "true\n",
     ["a message must not show labels"]),
    ("only cel-cpp reads it", GOOD + "size([1, 2,]) == 2\n",
     ["is not portable CEL"]),
    ("only cel-python reads it", GOOD + "[1, 2].reduce(a, b, 0, a + b) == 3\n", ["bad.cel:7:"]),
    ("has() of a field", GOOD + "has(request.region)\n",
     ["bad.cel:7:1: 'has' is not portable", "has(principal.labels.team)"]),
    ("conversion of text", GOOD + 'int(principal.labels["n"]) < 3\n',
     ["bad.cel:7:1: 'int' is not portable", "a numeric field"]),
    ("conversion to text", GOOD + 'string(1.0) == "1"\n', ["'string' is not portable"]),
    ("duration of text", GOOD + 'duration(principal.id) > duration("1s")\n',
     ["'duration' is not portable"]),
    ("pattern of the caller", GOOD + "model.id.matches(principal.id)\n", ["a literal pattern"]),
    ("escape of one engine", GOOD + '"a\\?" == principal.id\n', ["no escapes but"]),
    ("raw string with a quote", GOOD + 'r"a\\"" == principal.id\n', ["bad.cel:7:"]),
    *((f"refused: {source}", GOOD + f"{source}\n", ["bad.cel:7:"]) for source in REFUSED),
    *(
        (f"several types: {source}", GOOD + f"{source}\n", [f"bad.cel:7:{column}: ", "same type"])
        for source, column in MIXED.items()
    ),
    ("a comment in a scope", limit("5", per="principal.id // the caller"),
     ["bad.cel:9:9: CEL in a header must not have comments"]),
    ("a comment in a message", GOOD.replace("message: no", "message: {role.name // why}") + "true\n",
     ["bad.cel:6:14: CEL in a header must not have comments"]),
    ("an empty line in the header", GOOD.replace("// http_status", "\n// http_status") + "true\n",
     ["bad.cel:6:1: the header ended in line 4, so this is a comment"]),
    ("a leap second", GOOD + 'timestamp("2026-06-30T23:59:60Z") < now\n', ["there is no time"]),
    ("a far year", GOOD + 'now - timestamp("0001-01-01T00:00:00Z") > duration("1s")\n',
     ["from 2000 to 2099"]),
    ("a number beyond 64 bits", GOOD + "int(-9223372036854775808.0) < 0\n", ["or a literal"]),
    ("null", GOOD + "dyn(null) == null\n", ["is not portable"]),
    ("a line end for editors", GOOD.replace("no\n", "no\u2028// mode: shadow\n") + "true\n",
     ["bad.cel:6:15: has the invisible character U+2028"]),
    ("a form feed", GOOD.replace("no\n", "no\f// mode: shadow\n") + "true\n", ["U+000C"]),
    ("a carriage return", GOOD + "\n// note\rfalse\ntrue\n", ["U+000D"]),
    ("writing that turns round", GOOD + 'principal.id == "\u202eada"\n', ["U+202E"]),
    ("nested too deep", GOOD + "(" * 30 + "true" + ")" * 30, ["nests brackets deeper than 24"]),
    ("too large", GOOD + "// x\n\n" + "true ||\n" * 3000 + "true", ["larger than 16 KiB (16,384 bytes)"]),
    ("string that never ends", GOOD + '"' + r"\a" * 40 + "\n", ["bad.cel:7:"]),
    ("limit is a text", limit('"a lot"'), ["is of type string, but has to be an int, a double"]),
    ("limit is unlimited or a text", limit('role.name == "x" ? unlimited : "a"'), ["bad.cel:10:18"]),
    ("limit mixes int and double", limit('role.name == "x" ? 5 : 5.0'), ["bad.cel:10:18"]),
    ("scope is no string", limit("5", per="request.tokens"),
     ["bad.cel:9:9: is of type int, but has to be a string"]),
    ("scope misspelt", limit("5", per="principal.idd"),
     ["bad.cel:9:18: no field 'idd' in Principal"]),
    ("unknown window", limit("5", window="weak"),
     ["bad.cel:8:12: 'weak' is not a valid window", "did you mean 'week'?"]),
    ("a first day of an hour", limit("5", window="hour", extra="// starts_on: monday\n"),
     ["bad.cel:10:15: 'starts_on' is not for the window hour",
      "it is for week, month, quarter and year"]),
    ("a first hour of a total", limit("5", window="total", extra="// starts_at: 06:00\n"),
     ["'starts_at' is not for the window total",
      "it is for day, week, month, quarter and year"]),
    ("a first day in a month's end", limit("5", window="month", extra="// starts_on: 29\n"),
     ["bad.cel:10:15: 'starts_on' of a month has to be a day from 1 to 28"]),
    ("a weekday in a month", limit("5", window="month", extra="// starts_on: monday\n"),
     ["'starts_on' of a month has to be a day from 1 to 28"]),
    ("a number in a week", limit("5", window="week", extra="// starts_on: 1\n"),
     ["'starts_on' of a week has to be a weekday, not '1'"]),
    ("a weekday misspelt", limit("5", window="week", extra="// starts_on: sundey\n"),
     ["did you mean 'sunday'?"]),
    ("half an hour", limit("5", extra="// starts_at: 06:30\n"),
     ["bad.cel:10:15: 'starts_at' has to be a full hour, from 00:00 to 23:00"]),
    ("an hour too many", limit("5", extra="// starts_at: 24:00\n"), ["has to be a full hour"]),
    ("an anchor of a deny rule", GOOD.replace("// reason", "// starts_at: 06:00\n// reason") + "true\n",
     ["'starts_at' is not for effect deny"]),
    ("unknown meter", limit("5", meter="token"), ["did you mean 'tokens'?"]),
    ("alert_at without percent", limit("5", extra="// alert_at: 0.5\n"),
     ["'alert_at' has to be percentages"]),
    ("spend of no limit", GOOD + 'spend["dayly"].fraction > 0.8\n',
     ["bad.cel:7:1: no limit is named 'dayly'"]),
    ("division by what may be 0", limit("10.0 / workspace.monthly_budget_usd"),
     ["bad.cel:10:1: ", "divide by a literal number other than 0"]),
    ("division by 0", limit("10.0 / 0.0"), ["divide by a literal number"]),
    ("limit reads spend", limit('spend["x"].used > 1 ? 1 : 2'), ["a limit must not read `spend`"]),
]  # fmt: skip

WORKSPACE = "workspaces:\n  w:\n    allowed_models: []\n    monthly_budget_usd: 5\n    requests_per_minute: {}\n"

# name, the data file, and what the report has to contain
DATA = [
    ("unknown key", "roles:\n  r:\n    alowed_models: []\n",
     ["bad.yaml:3:5: unknown key 'alowed_models'", "did you mean 'allowed_models'?"]),
    ("missing key", "roles:\n  r:\n    allowed_models: []\n",
     ["bad.yaml:2:3: 'max_tokens_per_request' is missing"]),
    ("unknown section", "rolls: {}\n", ["bad.yaml:1:1: unknown key 'rolls'"]),
    ("not a number", "models:\n  m:\n    family: f\n    prices:\n    - effective_from: 2026-01-01\n"
     "      input_usd_per_million_tokens: cheap\n", ["bad.yaml:6:37: "]),
    ("negative price", "models:\n  m:\n    family: f\n    prices:\n    - effective_from: 2026-01-01\n"
     "      input_usd_per_million_tokens: -1\n", ["bad.yaml:6:37: ", "greater than or equal to 0"]),
    ("no date", "models:\n  m:\n    family: f\n    prices:\n    - effective_from: soon\n",
     ["bad.yaml:5:23: ", "has to be a day"]),
    ("a time without its zone", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01 10:00:00\n", ["bad.yaml:5:23: ", "has to have its zone"]),
    ("a day that is none", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-02-30\n", ["bad.yaml:5:23: 'effective_from': has to be a day"]),
    ("a day of another century", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 1999-12-31\n", ["bad.yaml:5:23: ", "between the years 2000 and 2200"]),
    ("a day in another form", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-W01-1\n", ["bad.yaml:5:23: ", "has to be a day"]),
    ("a ceiling left empty", WORKSPACE.replace("{}", ""),
     ["bad.yaml:5:5: 'requests_per_minute': has to be a number, or unlimited"]),
    ("a ceiling that is null", WORKSPACE.replace("{}", "~"), ["has to be a number, or unlimited"]),
    ("a ceiling in words", WORKSPACE.replace("{}", "infinite"), ["a number, or unlimited"]),
    ("a ceiling in quotes", WORKSPACE.replace("{}", '"60"'), ["a number, or unlimited"]),
    ("a number of YAML 1.1", WORKSPACE.replace("{}", "1:30"), ["a number, or unlimited"]),
    ("an octal number of YAML 1.1", WORKSPACE.replace("{}", "010"), ["a number, or unlimited"]),
    ("an allow-list that is no list", "roles:\n  r:\n    allowed_models: '*'\n"
     "    max_tokens_per_request: 1\n    daily_token_budget: 1\n",
     ["bad.yaml:3:21: 'allowed_models': has to be a list"]),
    ("a factor that is no number", "multipliers:\n  batch: 10%\n",
     ["bad.yaml:2:10: 'batch': has to be a number"]),
    ("a factor without end", "multipliers:\n  batch: .inf\n", ["with at most three decimals"]),
    ("a discount that is none", "multipliers:\n  cached_input: 1.5\n", ["bad.yaml:2:17: "]),
    ("a key that is no text", "roles:\n  2024: {}\n", ["bad.yaml:2:3: a key has to be a string"]),
    ("merge keys", "roles:\n  <<: {}\n", ["bad.yaml:2:3: YAML merge keys are not allowed"]),
    ("cached input dearer than input", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01\n      input_usd_per_million_tokens: 1\n"
     "      cached_input_usd_per_million_tokens: 1.01\n",
     ["bad.yaml:7:44: 'cached_input_usd_per_million_tokens': is more than input_usd_per_million"]),
    ("cached input without input", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01\n      cached_input_usd_per_million_tokens: 1\n",
     ["bad.yaml:6:44: 'cached_input_usd_per_million_tokens': is more than input_usd_per_million"]),
    ("an endpoint that is none", "models:\n  m:\n    family: f\n    endpoints: [EMBEDDING]\n",
     ["bad.yaml:4:17: 'EMBEDDING' is no", "EMBEDDINGS"]),
    ("endpoints that are no list", "models:\n  m:\n    family: f\n    endpoints: OCR\n",
     ["bad.yaml:4:16: 'endpoints': has to be a list"]),
    ("a tool without a name", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01\n      usd_per_thousand_calls: {'': 1}\n", ["bad.yaml:6:"]),
    ("a call below nothing", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01\n      usd_per_thousand_calls: {web_search: -1}\n",
     ["bad.yaml:6:", "greater than or equal to 0"]),
    ("two prices of one day", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 2026-01-01\n    - effective_from: 2026-01-01\n",
     ["two prices have the same effective_from"]),
    ("duplicate key", "roles: {}\nroles: {}\n", ["bad.yaml:2:1: 'roles' is there twice"]),
    ("entry of another file", "roles:\n  tester:\n    allowed_models: []\n"
     "    max_tokens_per_request: 1\n    daily_token_budget: 1\n",
     [": 'tester' is already in another file"]),
    ("alias of another model", "models:\n  m:\n    family: f\n    aliases: [small-latest]\n",
     ["'small-latest' is already a name of"]),
    ("not YAML", "roles: [\n", ["bad.yaml:2:1: "]),
    ("aliases", "a: &a [x]\nb: *a\n", ["bad.yaml:2:4: YAML aliases are not allowed"]),
    ("a tag that builds objects", "a: !!python/object/apply:os.system [ls]\n", ["bad.yaml:1:4: YAML tags"]),
    ("tags", "a: !!set {}\n", ["bad.yaml:1:4: YAML tags are not allowed"]),
    ("a number without end", WORKSPACE.replace("5\n", "1.0e+400\n").replace("{}", "1"),
     ["'monthly_budget_usd': has to be a number"]),
    ("a price of the far future", "models:\n  m:\n    family: f\n    prices:\n"
     "    - effective_from: 9999-12-31\n", ["between the years"]),
    ("brackets without end", "a: " + "[" * 100_000 + "\n", ["nests too deeply"]),
    ("a list", "- a\n", ["bad.yaml"]),
    ("nests too deeply", "a: " + "[" * 40 + "]" * 40 + "\n", ["nests too deeply"]),
]  # fmt: skip


def report(directory: Path) -> str:
    """Load, and return the report that has to come."""
    with pytest.raises(PolicyError) as caught:
        policy_set.load(directory)
    return str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_a_wrong_rule_is_reported_at_its_place(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    """Each mistake in a rule file is an error that names its place and says what to do."""
    found = report(minimal(tmp_path / "p", bad=text))
    assert all(part in found for part in expected), found


@pytest.mark.parametrize(("text", "expected"), [r[1:] for r in DATA], ids=[r[0] for r in DATA])
def test_wrong_data_is_reported_at_its_place(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    """Each mistake in a data file is an error that names its place and says what to do."""
    found = report(minimal(tmp_path / "p", bad_yaml=text))
    assert all(part in found for part in expected), found


def test_all_problems_are_reported_at_once_in_the_order_of_their_places(tmp_path: Path) -> None:
    """All problems are reported at once."""
    directory = minimal(
        tmp_path / "p", one=deny("role.nam"), two=deny("1 + 1"), roles_yaml="rolls: {}"
    )
    with pytest.raises(PolicyError) as caught:
        policy_set.load(directory)
    assert [p.file for p in caught.value.problems] == ["one.cel", "roles.yaml", "two.cel"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Big.cel", "lower-case letters"),
        ("data.yml", "data.yml: is neither a rule nor data"),
        ("no-gpt.CEL", "is neither a rule nor data"),
        ("no-gpt.cel~", "is neither a rule nor data"),
        ("no-gpt.cel.txt", "rules end in .cel"),
        ("more.json", "data in .yaml"),
    ],
)
def test_a_file_that_would_not_be_read_as_meant_is_refused(
    name: str, expected: str, tmp_path: Path
) -> None:
    """A rule or a data file with a wrong name is not passed over in silence."""
    directory = minimal(tmp_path / "p")
    (directory / name).write_text(deny("true"))
    assert expected in report(directory)


def test_a_folder_in_a_policy_directory_is_refused(tmp_path: Path) -> None:
    """Rules in folders would never be read."""
    directory = minimal(tmp_path / "p")
    (directory / "more").mkdir()
    assert "is a folder" in report(directory)


def test_a_link_out_of_the_directory_is_refused_unread(tmp_path: Path) -> None:
    """A report of problems never shows lines of other files."""
    (tmp_path / "secret").write_text("hunter2\n")
    directory = minimal(tmp_path / "p")
    (directory / "x.cel").symlink_to(tmp_path / "secret")
    assert "x.cel: is a link to a file outside" in (found := report(directory))
    assert "hunter2" not in found


def test_a_load_that_takes_too_long_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file within every other bound that takes seconds to read is given up, and named."""
    monkeypatch.setattr("sidecar.policy.files.timeout.MAX_LOAD_SECONDS", 0.3)
    slow = "roles:\n" + "".join(f"  r{n}: {{allowed_models: []}}\n" for n in range(30_000))
    found = report(minimal(tmp_path / "p", slow_yaml=slow))
    assert "takes longer than 0.3 s to load" in found


# Where the alarm strikes in the garbage collector, Python says so, and it strikes again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_timeout_is_not_reported_as_an_invalid_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interruption passes every handler of the parsers' errors."""
    monkeypatch.setattr("sidecar.policy.files.timeout.MAX_LOAD_SECONDS", 0.2)
    rule = deny(" && ".join(f"request.tokens > {n}" for n in range(100)))
    many = {f"rule_{n}": rule for n in range(100)}
    directory = minimal(tmp_path / "p", **many)
    found = report(directory)
    assert found.startswith(f"{directory}: takes longer than 0.2 s to load")
    with ThreadPoolExecutor(1) as elsewhere:
        assert found == elsewhere.submit(report, directory).result()


def test_a_load_in_time_leaves_the_interpreter_as_it_was(tmp_path: Path) -> None:
    """A leftover alarm would make every later step slower, and stop profilers."""
    program = (
        "import cProfile, pathlib; from sidecar.policy import policy_set;"
        f"policy_set.load(pathlib.Path({str(minimal(tmp_path / 'p'))!r}));"
        "cProfile.run('print(sum(range(10)))')"
    )
    code, out, _ = sidecar(program=program)
    assert (code, out.startswith("45")) == (0, True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_alarm_interrupts_what_comes_after_the_block(tmp_path: Path) -> None:
    """Whenever the block ends, within a hair of its limit too, nothing is raised later."""

    def block_of(seconds: float, limit_seconds: float = 0.002) -> str:
        ends = time.monotonic() + seconds

        def wait() -> str:
            while time.monotonic() < ends:
                pass
            return "in time"

        try:
            return with_timeout(str(tmp_path), wait, limit_seconds)
        except PolicyError:
            return "too long"

    for n in range(400):
        block_of(0.002 + (n % 20 - 10) / 20_000)
    outcomes = block_of(0, limit_seconds=60), block_of(60)
    for _ in range(200_000):  # a stray alarm would strike here
        pass
    assert outcomes == ("in time", "too long")


def test_spend_in_a_comment_is_ignored(tmp_path: Path) -> None:
    """Only CEL names limits: the body, the scope, and the parts in braces."""
    text = deny('spend["daily"].used > 5 // was spend["old"]', message="see wiki/spend.html")
    text = text.replace("// owner", "// description: see wiki/spend.html\n// owner")
    policy_set.load(minimal(tmp_path / "p", daily=limit("5"), x=text))
    text = deny("true", message='{spend["dayly"].used}')
    with pytest.raises(PolicyError, match="did you mean 'daily'"):
        policy_set.load(minimal(tmp_path / "q", daily=limit("5"), x=text))


@pytest.mark.parametrize(
    "before",
    ["日本", "\uff37\uff45", "🙂", "e\u0301a\u20dd", "a\u3000b\xa0", "\t日", "plain"],
    ids=["east-asian", "full-width", "emoji", "combining", "unusual-spaces", "tab", "plain"],
)
def test_the_caret_is_below_its_place_as_a_terminal_shows_the_line(
    before: str, tmp_path: Path
) -> None:
    """Wide characters take two cells, combining ones none, and escapes as many as they have."""
    text = deny(f'"{before}" == rolle.name')
    _, shown, caret, _ = report(minimal(tmp_path / "p", x=text)).splitlines()[:4]
    until = shown[: shown.index("rolle")]
    assert cell_len(until) == cell_len(caret.removesuffix("^"))
    assert until.count("\t") == caret.count("\t")


def test_a_configmap_with_its_links_is_read(tmp_path: Path) -> None:
    """Kubernetes mounts every file as a link through `..data`."""
    directory = tmp_path / "p"
    minimal(directory / "..2026_11")
    (directory / "..data").symlink_to("..2026_11")
    for file in (directory / "..2026_11").iterdir():
        (directory / file.name).symlink_to(Path("..data") / file.name)
    assert policy_set.load(directory).digest == policy_set.load(minimal(tmp_path / "q")).digest


def test_a_pipe_in_the_directory_is_refused(tmp_path: Path) -> None:
    """Reading it would wait forever."""
    directory = minimal(tmp_path / "p")
    os.mkfifo(directory / "x.cel")
    assert "x.cel: is not a regular file" in report(directory)


def test_a_directory_without_rules_is_refused(tmp_path: Path) -> None:
    """A wrong path or an empty ConfigMap differs from a policy that denies everything."""
    assert "has no .cel files" in report(tmp_path)
    assert "cannot be read" in report(tmp_path / "nowhere")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A rule is text in UTF-8."""
    directory = minimal(tmp_path / "p")
    (directory / "bad.cel").write_bytes(b"// METADATA\n\xff")
    assert "bad.cel: is not UTF-8 at byte 12" in report(directory)


def test_names_with_a_dot_and_fixtures_are_ignored(tmp_path: Path) -> None:
    """A ConfigMap's `..data` and files of editors are not policies, nor are fixtures."""
    directory = minimal(tmp_path / "p")
    before = policy_set.load(directory).digest
    (directory / "..data").mkdir()
    (directory / ".rule.cel.swp").write_text("junk")
    (directory / "roles_test.yaml").write_text("junk: [")
    assert before == policy_set.load(directory).digest


def test_the_digest_changes_with_every_rule_and_data_file(tmp_path: Path) -> None:
    """Two sets that may decide differently never share a digest."""
    first = policy_set.load(minimal(tmp_path / "a")).digest
    assert first == policy_set.load(minimal(tmp_path / "b")).digest
    assert first != policy_set.load(minimal(tmp_path / "c", no=deny("false"))).digest
    changed = minimal(tmp_path / "d", roles_yaml=policies.ROLES.replace("10_000", "10_001"))
    assert first != policy_set.load(changed).digest
