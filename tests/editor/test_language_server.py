"""Editors: the JSON Schemas in a real YAML language server, as a file's first line names them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import sidecar
from support.language_server import LanguageServer, running
from support.policies import SHIPPED

from sidecar.policy.files import data
from sidecar.policy_tools import editor_schemas
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.validate import validate_fixtures

STARTER = Path(__file__).parents[2] / "sidecar" / "starter"
FILES = sorted([*SHIPPED.glob("*.yaml"), *STARTER.glob("*.yaml")])

ROLE = (
    "roles:\n  r: {{allowed_models: [small], max_tokens_per_request: {}, daily_token_budget: 5}}\n"
)
SPACE = "workspaces:\n  w: {{allowed_models: {}, requests_per_minute: 5, monthly_budget_usd: {}}}\n"
PRICE = "models:\n  m:\n    family: f\n    prices:\n    - {{effective_from: {}, {}}}\n"
USD = "input_usd_per_million_tokens: 1"
WHO = "principal: {id: ada, role: r, workspace: w}"
TEST = "tests:\n- name: one\n  steps:\n  - {}\n"
CALL = f"authorize: {{{WHO}, model: m}}"
TABLE = "tests:\n- name: one ${{x}} ${{effect}} ${{whole}}\n  each: [{{x: 1, effect: allow, whole: {{effect: allow}}}}]\n  steps:\n  - {}\n"

WRONG = [
    ("data", ROLE.format("-1"), 2),
    ("data", ROLE.format("5.5"), 2),
    ("data", ROLE.format("lots"), 2),
    ("data", ROLE.format("null"), 2),
    ("data", ROLE.format("-.inf"), 2),
    ("data", ROLE.format("5").replace("daily", "dayly"), 2),
    ("data", ROLE.format("5").replace("[small]", "small"), 2),
    ("data", ROLE.format("5").replace("[small]", '[""]'), 2),
    ("data", SPACE.format("[m]", "-0.01"), 2),
    ("data", SPACE.format("[m]", "1000000000"), 2),
    ("data", SPACE.format("[m]", "'5'"), 2),
    ("data", SPACE.format("[7]", "5"), 2),
    ("data", PRICE.format("2026-08-21", "input_usd_per_million_tokens: -1"), 5),
    ("data", PRICE.format("2026-08-21", "usd_per_thousand_pages: 10001"), 5),
    ("data", PRICE.format("2026-08", USD), 5),
    ("data", PRICE.format("2026-08-21T12:00:00", USD), 5),
    ("data", PRICE.format("2026-08-21", "usd: 1"), 5),
    ("data", "models:\n  m: {}\n", 2),
    ("data", "multipliers:\n  cached_input: 1.1\n", 2),
    ("data", "multipliers:\n  cached_input: 100\n", 2),
    ("data", "multipliers:\n  batch: -1\n", 2),
    ("data", "multipliers:\n  service_tiers: {priority: 10.5}\n", 2),
    ("data", "keys:\n  k#2: {workspace: w}\n", 2),
    ("data", "keys:\n  k: {workspace: w, state: lost}\n", 2),
    ("data", "keys:\n  k: {workspace: w, requests_per_minute: null}\n", 2),
    ("data", "rules: {}\n", 1),
    ("fixtures", TEST.format("advance: soon"), 4),
    ("fixtures", TEST.format("advance: 5"), 4),
    ("fixtures", TEST.format(f"{CALL}\n    advance: 5s"), 4),
    ("fixtures", TEST.format("expect: {effect: deny}"), 4),
    ("fixtures", TEST.format(f"{CALL}\n    expect: {{effect: denied}}"), 5),
    ("fixtures", TEST.format(f"{CALL}\n    expect: {{held_usd: cheap}}"), 5),
    ("fixtures", TEST.format(CALL.replace("model: m", "model: m, estimate: {pages: -1}")), 4),
    ("fixtures", TEST.format(CALL.replace("model: m", "model: m, endpoint: CHATS")), 4),
    ("fixtures", TEST.format(CALL.replace("role", "rule")), 4),
    ("fixtures", "tests:\n- name: one\n  steps: []\n", 3),
    ("fixtures", TEST.format("advance: 5s\n    expect: {}"), 5),
    ("fixtures", TEST.format("settle: {}\n    expect: {effect: allow}"), 5),
    ("fixtures", TEST.format("release: {}\n    expect: {held_usd: 0}"), 5),
    ("fixtures", TEST.format(f"{CALL}\n    expect: {{charged_usd: 0}}"), 5),
    ("fixtures", TABLE.format(f"{CALL}\n    expect: {{effect: {{x}}}}"), 6),
    ("fixtures", TABLE.format(f"{CALL}\n    expect: {{held_usd: some $x}}"), 6),
]  # fmt: skip

RIGHT = [
    ("fixtures", TEST.format("settle: {}\n    expect: {charged_usd: 0, charged_tokens: 0, remaining: {}}")),
    ("data", ROLE.format("unlimited")),
    ("data", ROLE.format(".inf")),
    ("data", SPACE.format("['*']", ".inf")),
    ("data", SPACE.format("[]", "0")),
    ("data", SPACE.format("[]", "0.000000001")),
    ("data", PRICE.format("2026-08-21T12:00:00.5+02:00", USD)),
    ("data", PRICE.format("2026-08-21 12:00:00Z", USD)),
    ("data", "multipliers: {cached_input: 1, batch: 0.125, regions: {eu: 10}}\n"),
    ("data", "keys:\n  k: {workspace: w, created: 2026-01-01, expires: 2027-01-01}\n"),
    ("fixtures", TABLE.format(f'{CALL}\n    expect: "${{whole}}"')),
    ("fixtures", TABLE.format(f'{CALL}\n    expect: {{effect: "${{effect}}", remaining: {{a: "${{x}}"}}}}')),
    ("fixtures", TABLE.format('advance: "${x}h"')),
    ("fixtures", TABLE.format(CALL.replace("model: m", 'model: "a ${x}", estimate: {input_tokens: "1${x}"}'))),
    ("fixtures", TABLE.format(f"{CALL}\n    expect: {{reasons: [NO, 'A_${{x}}']}}")),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    """One server for all files."""
    with running() as at_work:
        yield at_work


def written(directory: Path, number: int, subject: str, text: str) -> Path:
    """Write a file as an author does: beside the schemas, which its first line names."""
    path = directory / (f"{number}_test.yaml" if subject == "fixtures" else f"{number}.yaml")
    path.write_text(f"# yaml-language-server: $schema=.{subject}.schema.json\n{text}")
    return path


def lines_of_problems(file: Path) -> set[int]:
    """Return where the sidecar itself says that a file is wrong."""
    if file.name.endswith("_test.yaml"):
        alone = file.parent / file.stem
        alone.mkdir()
        (alone / file.name).write_text(file.read_text())
        tests, problems = fixtures.read(alone)
        return {problem.line for problem in [*problems, *validate_fixtures(tests, None)]}
    return {problem.line for problem in data.read({file.name: file.read_text()})[1]}


def test_an_editor_finds_nothing_wrong_with_what_is_shipped(server: LanguageServer) -> None:
    """The first line of each shipped file names a schema that is there, and that accepts it."""
    for file in FILES:
        subject = "fixtures" if file.name.endswith("_test.yaml") else "data"
        first = file.read_text().splitlines()[0]
        assert first == f"# yaml-language-server: $schema={editor_schemas.FILES[subject]}", file
    assert server.problems(FILES) == {file: [] for file in FILES}
    assert len(FILES) > len(list(STARTER.glob("*.yaml")))


def test_an_editor_marks_mistakes(server: LanguageServer, tmp_path: Path) -> None:
    """A mark stands in the line that `sidecar check` names."""
    editor_schemas.write(tmp_path)
    files = {
        written(tmp_path, number, subject, text): line + 1
        for number, (subject, text, line) in enumerate(WRONG)
    }
    marks = server.problems(files)
    for file, line in files.items():
        assert {mark.line for mark in marks[file]} == {line}, (file.read_text(), marks[file])
        assert line in lines_of_problems(file), file.read_text()


def test_the_schemas_accept_what_the_sidecar_accepts(
    server: LanguageServer, tmp_path: Path
) -> None:
    """Every notation of a value is accepted, and a placeholder wherever one is replaced."""
    editor_schemas.write(tmp_path)
    files = [written(tmp_path, number, *case) for number, case in enumerate(RIGHT)]
    marks = server.problems(files)
    for file in files:
        assert (marks[file], lines_of_problems(file)) == ([], set()), file.read_text()


def test_a_schema_that_is_missing_is_noticed(server: LanguageServer, tmp_path: Path) -> None:
    """The server reads the schema that a file names: that nothing is wrong means something."""
    path = written(tmp_path, 0, "data", ROLE.format("5"))
    [mark] = server.problems([path])[path]
    assert "Unable to load schema" in mark.message


@pytest.mark.parametrize("directory", [SHIPPED, STARTER], ids=lambda path: path.name)
def test_the_shipped_schemas_are_current(directory: Path, tmp_path: Path) -> None:
    """`sidecar schema --write` writes the files that are checked in."""
    code, out, _ = sidecar("schema", "--write", tmp_path)
    assert (code, len(out.splitlines())) == (0, len(editor_schemas.FILES))
    for name in editor_schemas.FILES.values():
        assert (directory / name).read_text() == (tmp_path / name).read_text(), name


def test_a_new_policy_set_has_its_schemas(server: LanguageServer, tmp_path: Path) -> None:
    """What `sidecar init` writes is right in an editor at once."""
    assert sidecar("init", tmp_path / "mine")[0] == 0
    files = sorted((tmp_path / "mine").glob("*.yaml"))
    assert server.problems(files) == {file: [] for file in files}
    assert files


def test_schemas_are_written_only_where_there_is_a_folder(tmp_path: Path) -> None:
    """A folder that is not there is an error, and is not made."""
    code, _, err = sidecar("schema", "--write", tmp_path / "none")
    assert (code, "No such file or directory" in err) == (1, True)


KEYWORDS = {
    "$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "const",
    "anyOf", "oneOf", "required", "properties", "patternProperties", "propertyNames",
    "dependencies", "additionalProperties", "items", "minItems", "minLength", "maxLength", "pattern",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip
"""What the schemas may say: an editor passes over a keyword that it does not know."""


@pytest.mark.parametrize("schema", [editor_schemas.data_schema(), editor_schemas.fixture_schema()])
def test_the_schemas_use_no_keyword_that_editors_ignore(schema: dict[str, Any]) -> None:
    """A bound under a name of another library's would bound nothing."""
    waiting, seen = [schema], 0
    while waiting:
        one = waiting.pop()
        seen += 1
        assert one.keys() <= KEYWORDS, one
        for key in ("$defs", "properties", "patternProperties", "dependencies"):
            waiting += [part for part in one.get(key, {}).values() if isinstance(part, dict)]
        for key in ("items", "additionalProperties", "propertyNames"):
            waiting += [one[key]] if isinstance(one.get(key), dict) else []
        waiting += [*one.get("anyOf", []), *one.get("oneOf", [])]
    assert seen > 50
