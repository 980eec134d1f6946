"""Problems in the formats of programs: JSON, GitHub's annotations, SARIF."""

from dataclasses import asdict
from urllib.parse import quote

from sidecar.policy.files.problems import Problem
from sidecar.policy_tools.lint.lint import HELP

ERROR = "error"

_WHAT_ERRORS_ARE = "A policy directory with an error does not load: fix what the message names."


def severity(problem: Problem) -> str:
    """Return "warning" for a lint, else "error"."""
    return "warning" if problem.lint else ERROR


def as_json(problem: Problem) -> dict[str, object]:
    """Write a problem as a JSON object."""
    return {"severity": severity(problem), **asdict(problem)}


def annotation(problem: Problem) -> str:
    """Write a problem as a workflow command that GitHub shows at its line."""
    properties = {"file": problem.file, "line": problem.line or 1, "col": problem.column or 1}
    if problem.lint:
        properties["title"] = problem.lint
    place = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{severity(problem)} {place}::{_escaped(_text(problem))}"


def sarif(problems: list[Problem]) -> dict[str, object]:
    """Write problems as SARIF 2.1.0, which code-scanning tools read."""
    rules = [_rule(name) for name in sorted({problem.lint or ERROR for problem in problems})]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "sidecar check", "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem) for problem in problems],
            }
        ],
    }


def _rule(name: str) -> dict[str, object]:
    return {
        "id": name,
        "shortDescription": {"text": name.replace("-", " ")},
        "help": {"text": HELP.get(name, _WHAT_ERRORS_ARE)},
    }


def _result(problem: Problem) -> dict[str, object]:
    region = {"startLine": problem.line or 1, "startColumn": problem.column or 1}
    return {
        "ruleId": problem.lint or ERROR,
        "level": severity(problem),
        "message": {"text": _text(problem)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(problem.file)},
                    "region": region,
                }
            }
        ],
    }


def _text(problem: Problem) -> str:
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape what would end a property of a workflow command, or the command."""
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
