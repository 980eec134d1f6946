"""Problems in formats of programs, for every kind of wrong directory."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import sidecar
from support.policies import deny, limit, minimal

RULE = deny("true")
URI = re.compile(r"[A-Za-z0-9\-._~/%]+")


def in_place_of_the_directory(directory: Path) -> None:
    """Replace the directory by a file."""
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    directory.write_text("x")


WRONG: dict[str, Callable[[Path], object]] = {
    "missing": lambda directory: directory.rename(directory.with_name("moved")),
    "a-file": in_place_of_the_directory,
    "no-rules": lambda directory: (directory / "allow-all.cel").unlink(),
    "a-pipe": lambda directory: os.mkfifo(directory / "x.cel"),
    "a-folder": lambda directory: (directory / "x.cel").mkdir(),
    "a-link-to-itself": lambda directory: (directory / "x.cel").symlink_to("x.cel"),
    "a-link-outside": lambda directory: (directory / "x.cel").symlink_to("/etc/hostname"),
    "not-utf8": lambda directory: (directory / "x.cel").write_bytes(b"// METADATA\n\xff"),
    "not-printable": lambda directory: (directory / os.fsdecode(b"\xff.cel")).write_text(RULE),
    "a-name-to-quote": lambda directory: (directory / "100 % \u00e9.cel").write_text(RULE),
    "too-large": lambda directory: (directory / "x.cel").write_text("a" * 2_000_000),
    "nested": lambda directory: (directory / "x.cel").write_text(deny("(" * 5_000)),
    "no-header": lambda directory: (directory / "x.cel").write_text("true"),
    "a-map-of-now": lambda directory: (directory / "x.cel").write_text(deny("{now: 0}")),
    "an-escape": lambda directory: (directory / "x.cel").write_text(deny(r'"\x41" == r"\d"')),
    "a-wrong-date": lambda directory: (directory / "x.cel").write_text(
        deny('timestamp("2026-13-01T00:00:00Z") < now')
    ),
    "not-yaml": lambda directory: (directory / "x.yaml").write_text("roles: ["),
    "no-fixtures": lambda directory: (directory / "x_test.yaml").write_text(
        "tests:\n- nam: \u65e5\n"
    ),
    "a-warning": lambda directory: (directory / "x.cel").write_text(limit("0")),
}


def is_valid(report: dict[str, Any]) -> bool:
    """Check what SARIF 2.1.0, and code scanning, need of a report."""
    (run,) = report["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert (report["version"], run["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    assert len(rules) == len(set(rules))
    assert all(rule["help"]["text"] for rule in run["tool"]["driver"]["rules"])
    for result in run["results"]:
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert result["ruleId"] in rules
        assert result["level"] in ("error", "warning")
        assert result["message"]["text"]
        assert URI.fullmatch(place["artifactLocation"]["uri"])
        assert min(place["region"].values()) >= 1
    return bool(run["results"])


@pytest.mark.parametrize("kind", WRONG)
def test_every_wrong_directory_has_a_valid_report(kind: str, tmp_path: Path) -> None:
    """Code scanning gets SARIF whatever is wrong, and JSON is an array of the same problems."""
    directory = minimal(tmp_path / "p")
    WRONG[kind](directory)
    code, out, err = sidecar("check", directory, "--format", "sarif")
    assert (is_valid(json.loads(out)), code, err) == (True, int(kind != "a-warning"), "")
    problems = json.loads(sidecar("check", directory, "--format", "json")[1])
    assert len(problems) == len(json.loads(out)["runs"][0]["results"])
