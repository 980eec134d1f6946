"""`sidecar test`: runs the fixtures of a policy directory."""

from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import typer

from sidecar.cli.options import TimeZoneOption, fail, fail_all, zone_info
from sidecar.cli.policies import in_directory, load_policies
from sidecar.cli.terminal import say, say_all, say_json
from sidecar.domain.texts import printable
from sidecar.policy import policy_set
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.trace import RuleTraces
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.coverage import Coverage
from sidecar.policy_tools.testing.fixtures import Fixture
from sidecar.policy_tools.testing.runner import FixtureResult, Mismatch, run_fixtures
from sidecar.policy_tools.testing.validate import validate_fixtures


class TestFormat(StrEnum):
    """How to print the results of tests."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"


@dataclass(slots=True)
class Result:
    """One test, with its result on each engine."""

    fixture: Fixture
    outcomes: list[FixtureResult]

    @property
    def passed(self) -> bool:
        """Whether every engine gave the expected result."""
        return not any(outcome.mismatches for outcome in self.outcomes)


def run_tests(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of policies.")],
    only: Annotated[
        str, typer.Option("--filter", "-k", help="Only tests whose name contains this.")
    ] = "",
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="Report which outcomes of conditions and limits no test sees.",
        ),
    ] = False,
    coverage_min: Annotated[
        int | None,
        typer.Option(
            metavar="PERCENT", min=0, max=100, help="As --coverage, and exit 1 below this."
        ),
    ] = None,
    output: Annotated[
        TestFormat,
        typer.Option(
            "--format",
            envvar="SIDECAR_TEST_FORMAT",
            help="The output format. With junit, coverage goes to standard error.",
        ),
    ] = TestFormat.TEXT,
    time_zone: TimeZoneOption = "UTC",
) -> None:
    """Run the fixtures (*_test.yaml) of a policy directory. Exit 1 if any fails.

    Each runs on both CEL evaluators, with a real ledger.

    Example: sidecar test policies
    """
    policies = _load(directory, zone_info(time_zone))
    found, problems = fixtures.read(directory)
    problems += validate_fixtures(found, policies[0])
    if problems:
        found_wrong = (str(in_directory(directory, problem)) for problem in sorted(problems))
        raise fail_all("\n".join(found_wrong))
    chosen = [fixture for fixture in found if only.lower() in fixture.name.lower()]
    if not chosen:
        raise fail(f"{directory}: no tests" + (f" whose name contains '{only}'" if only else ""))
    by_engine = [list(run_fixtures(policy, chosen)) for policy in policies]
    results = [
        Result(fixture, list(outcomes))
        for fixture, *outcomes in zip(chosen, *by_engine, strict=True)
    ]
    rules = RuleTraces(policies[0])
    measured = None
    if coverage or coverage_min is not None:
        measured = Coverage(rules)
        measured.record(by_engine[0])
    _report(directory, results, rules, output)
    if measured is not None and output is not TestFormat.JSON:
        partial = " (partial: by the tests that -k chose)" if only else ""
        _report_coverage(directory, measured, partial, err=output is TestFormat.JUNIT)
    elif output is TestFormat.JSON:
        say_json(_as_json(results, measured))
    if measured is not None and measured.percent() < (coverage_min or 0):
        covered = f"{measured.percent()} % of what conditions and limits can do is tested"
        raise fail(f"{covered}; --coverage-min requires {coverage_min} %")
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _load(directory: Path, zone: tzinfo) -> list[PolicySet]:
    """Load the policy set once for each engine of this machine, in the order of ENGINES."""
    policies = []
    for engine in policy_set.ENGINES:
        try:
            policies.append(load_policies(directory, engine, zone=zone))
        except ValueError as error:  # no wheel of cel-cpp for this machine
            say(f"sidecar: {error}", err=True)
    return policies


def _report(
    directory: Path,
    results: list[Result],
    rules: RuleTraces,
    output: TestFormat,
) -> None:
    if output is TestFormat.JUNIT:
        say_all(_junit(results))
    elif output is TestFormat.TEXT:
        for result in results:
            if not result.passed:
                say(*_failure(directory, result, rules), "")
        failed = sum(not result.passed for result in results)
        engines = " and ".join(outcome.engine for outcome in results[0].outcomes)
        say(f"{len(results) - failed} passed, {failed} failed, on {engines}")


def _failure(directory: Path, result: Result, rules: RuleTraces) -> list[str]:
    """Return the expected and the actual results, with the values of the rules involved."""
    lines = [f"FAILED {result.fixture.name}"]
    for mismatch, engines in _by_mismatch(result).items():
        place = f"{directory / result.fixture.file}:{mismatch.line}"
        lines += [
            f"  {place}: {mismatch.what} (on {' and '.join(engines)})",
            f"    expected: {_shown(mismatch.expected)}",
            f"    actual:   {_shown(mismatch.actual)}",
        ]
    outcome = next((o for o in result.outcomes if o.failed_at is not None), None)
    if outcome is not None and outcome.failed_at is not None:
        for rule, parts in rules.values(outcome.failed_at):
            if rule.id in outcome.involved and parts:
                lines.append(f"  {rule.id} ({rule.effect.value})")
                lines += [f"    {'  ' * traced.part.depth}{traced}" for traced in parts]
    return lines


def _shown(text: str) -> str:
    """Return a result as text for people; an empty one is "none"."""
    return printable(text) or "none"


def _by_mismatch(result: Result) -> dict[Mismatch, list[str]]:
    """Return each mismatch with the engines that it occurred on, usually both."""
    found: dict[Mismatch, list[str]] = {}
    for outcome in result.outcomes:
        for mismatch in outcome.mismatches:
            found.setdefault(mismatch, []).append(outcome.engine)
    return found


def _report_coverage(directory: Path, measured: Coverage, partial: str, *, err: bool) -> None:
    say("", f"coverage: {measured.percent()} %{partial}", err=err)
    for item in measured.items:
        if item.missing:
            place = f"{directory / item.rule}.cel:{item.part.line}:{item.part.column}"
            never = " or ".join(item.missing)
            say(f"  {place}: never {never}: {item.part.text}", err=err)


def _as_json(results: list[Result], measured: Coverage | None) -> dict[str, object]:
    report: dict[str, object] = {
        "tests": [
            {
                "name": result.fixture.name,
                "file": result.fixture.file,
                "line": result.fixture.line,
                "passed": result.passed,
                "mismatches": [
                    {
                        "engine": outcome.engine,
                        "line": mismatch.line,
                        "what": mismatch.what,
                        "expected": mismatch.expected,
                        "actual": mismatch.actual,
                    }
                    for outcome in result.outcomes
                    for mismatch in outcome.mismatches
                ],
            }
            for result in results
        ]
    }
    if measured is not None:
        report["coverage_percent"] = measured.percent()
        report["not_covered"] = [
            {
                "rule": item.rule,
                "line": item.part.line,
                "column": item.part.column,
                "text": item.part.text,
                "never": item.missing,
            }
            for item in measured.items
            if item.missing
        ]
    return report


def _junit(results: list[Result]) -> str:
    failures = sum(not result.passed for result in results)
    suite = ET.Element("testsuite", name="sidecar", tests=str(len(results)), failures=str(failures))
    for result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=printable(result.fixture.file),
            name=printable(result.fixture.name),
        )
        if not result.passed:
            text = "\n".join(
                f"line {m.line}: {printable(m.what)} (on {' and '.join(engines)}): "
                f"expected {_shown(m.expected)}, actual {_shown(m.actual)}"
                for m, engines in _by_mismatch(result).items()
            )
            ET.SubElement(case, "failure", message=text.splitlines()[0]).text = text
    return ET.tostring(suite, encoding="unicode")
