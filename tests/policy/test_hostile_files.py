"""Hostile files: each is a problem at its place, never a traceback."""

import os
from pathlib import Path

import pytest
from support.policies import ROLES, deny, minimal

from sidecar.policy import policy_set
from sidecar.policy.files import directory
from sidecar.policy.files.problems import PolicyError, Problem, did_you_mean

LABELS = ROLES + "    labels: {x: %s}\n"


def report(path: Path) -> str:
    """Load, and return the report that has to come."""
    with pytest.raises(PolicyError) as caught:
        policy_set.load(path)
    return str(caught.value)


def test_a_file_name_that_is_not_utf8_is_refused_and_can_be_printed(tmp_path: Path) -> None:
    """File systems allow any bytes; a report is text."""
    path = minimal(tmp_path / "p")
    (path / os.fsdecode(b"\xff.cel")).write_text(deny("true"))
    (path / "a\nb\x1b[31m.cel").write_text(deny("true"))
    found = report(path)
    assert r"\udcff.cel: the name has characters that cannot be printed" in found
    assert r"a\nb\x1b[31m.cel: the name has characters that cannot be printed" in found
    assert found.encode()


def test_a_broken_link_is_a_problem(tmp_path: Path) -> None:
    """It is reported, and the other files are read."""
    path = minimal(tmp_path / "p", bad="true")
    (path / "x.cel").symlink_to("y" * 300)
    (path / "z.cel").symlink_to("z.cel")
    found = report(path)
    assert "x.cel: cannot be read: File name too long" in found
    assert "z.cel: is not a regular file" in found
    assert "bad.cel:1:1" in found


def test_a_file_given_as_the_directory_is_an_error(tmp_path: Path) -> None:
    """People may give the rule that they edit."""
    path = minimal(tmp_path / "p") / "allow-all.cel"
    assert report(path) == f"{path}: is a file: give its directory"


def test_a_byte_order_mark_is_refused_with_a_hint(tmp_path: Path) -> None:
    """Some editors write one unasked."""
    path = minimal(tmp_path / "p", x="\ufeff" + deny("true"))
    assert "x.cel:1:1: has the invisible character U+FEFF" in (found := report(path))
    assert "save as UTF-8 without a byte order mark" in found


@pytest.mark.parametrize(
    "body",
    [
        "!" * 4000 + "true",
        "!(" * 23 + "true" + ")" * 23 + " || " + "-" * 4000 + "1 == 1",
        " || ".join(["request.batch"] * 900),
        "".join(["request.batch ? true : "] * 500) + "false",
        "role" + ".labels" * 1500 + " == 1",
        "role" + "['x']" * 2000 + " == 1",
        "1" + " + 1" * 3000 + " == 1",
        "[[1]]" + ".map(x, x)" * 1000 + " == [1]",
    ],
    ids=lambda body: body[:12],
)
def test_deep_nesting_without_brackets_is_a_problem(body: str, tmp_path: Path) -> None:
    """The parser's own limit is reported as a problem."""
    assert "x.cel:8:" in report(minimal(tmp_path / "p", x=deny(body)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LABELS % r'"\ud800"', "bad.yaml:6:20: found invalid Unicode character escape"),
        (
            LABELS.replace("x:", r'"\udfff":') % "1",
            "bad.yaml:6:17: found invalid Unicode character escape",
        ),
        ('a: "\\UFFFFFFFF"\n', "bad.yaml:1:7: found invalid Unicode character escape"),
        ('a: 1\nb: "\\U00110000"\n', "bad.yaml:2:7: found invalid Unicode character escape"),
        ("a: 1\nb: \uffff\n", "bad.yaml:2:4: has the character U+FFFF"),
    ],
)
def test_invalid_characters_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    """YAML escapes can write what UTF-8 cannot encode."""
    text = text.replace("tester", "other")
    assert expected in report(minimal(tmp_path / "p", bad_yaml=text.lstrip("\n")))


def test_a_problem_is_printed_without_control_characters() -> None:
    """No name or message moves the cursor or begins a line of its own."""
    problem = Problem("a\r\x1b.cel", 1, 1, "is '\u202e\n::error::x'", "\tx\x07", "hint\x00")
    lines = str(problem).split("\n")
    assert lines[0] == r"a\r\x1b.cel:1:1: is '\u202e\n::error::x'"
    assert lines[1:] == ["    \tx\\x07", "    ^", "    hint\\x00"]


def test_a_suggestion_among_very_many_names_is_cheap() -> None:
    """Only names that begin alike are compared when there are thousands."""
    known = [f"{letter}-model-{n}" for n in range(2000) for letter in "abc"]
    assert did_you_mean("a-modle-7", known).startswith("did you mean 'a-model-")
    assert did_you_mean("z-model-7", known) == ""


def test_a_fixture_with_an_ignored_name_is_not_read(tmp_path: Path) -> None:
    """Files whose names begin with a dot are ignored, as for rules."""
    path = minimal(tmp_path / "p")
    (path / ".x_test.yaml").write_text("junk: [")
    assert directory.read(path).problems == []
    assert directory.fixture_files(path) == []
