"""The tests of an attack: they are run, and each says what it attacked, what held, and what did not."""

import ast
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from siege.attack import Attack

ROOT = Path(__file__).parents[2]
MAX_IDS_CHARACTERS = 120


@dataclass
class TestResult:
    """What came of a test, over all its cases."""

    __test__ = False

    title: str
    """Its name, in words."""
    promise: str
    """The first sentence of its docstring: what has to hold."""
    cases: list[str] = field(default_factory=list)
    """The ids of its parameters; an empty one, if it has none."""
    faults: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    """Why cases were skipped."""

    @property
    def shown_cases(self) -> str:
        """The ids of its cases, or how many there are."""
        ids = ", ".join(self.cases)
        are_words = ids.isprintable() and not all(case.isdecimal() for case in self.cases)
        return ids if ids and are_words and len(ids) <= MAX_IDS_CHARACTERS else str(len(self.cases))

    @property
    def verdict(self) -> str:
        """What became of the sidecar."""
        if self.faults:
            return "fell"
        return "held" if not self.skipped else f"skipped: {', '.join(sorted(self.skipped))}"


def run(attack: Attack) -> list[TestResult]:
    """Run the tests of an attack, in the order of their files. Their output goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        code = subprocess.run(  # noqa: S603 - our own tests
            [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *attack.tests],
            cwd=ROOT, check=False, stdout=sys.stderr,
        ).returncode  # fmt: skip
        cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest wrote it
    results: dict[tuple[str, str], TestResult] = {}
    for case in cases:
        module, (name, _, parameters) = case.get("classname", ""), _split(case)
        if (module, name) not in results:
            title = name.removeprefix("test_").replace("_", " ")
            results[module, name] = TestResult(title, _promise(module, name))
        _add(results[module, name], case, parameters)
    if code and not any(result.faults for result in results.values()):
        results["", ""] = TestResult("", "the tests run", faults=[f"pytest ended with {code}"])
    return list(results.values())


def _split(case: ET.Element) -> tuple[str, str, str]:
    """Return the name of a case's function and the id of its parameters."""
    name, bracket, parameters = case.get("name", "").partition("[")
    return name, bracket, parameters.removesuffix("]")


def _add(result: TestResult, case: ET.Element, parameters: str) -> None:
    """Add a case. An element without children is false, so each is compared with None."""
    result.cases.append(parameters)
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            result.faults.append(f"{case.get('name')}: {found.get('message')}")
    if (skipped := case.find("skipped")) is not None:
        result.skipped.add(skipped.get("message", ""))


def _promise(module: str, name: str) -> str:
    """Return the first paragraph of a test's docstring."""
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if file.exists():
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return (ast.get_docstring(node) or "").partition("\n\n")[0]
    return ""
