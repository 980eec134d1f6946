"""Which tests run a line of the source."""

from pathlib import Path

from mutants.line_coverage import CoveringTests

SUM = """LIMIT = 2


def total(number):
    return number + LIMIT
"""
TESTS = """import pytest

from sidecar import sums


@pytest.fixture
def three():
    return sums.total(1)


def test_a_fixture_adds(three):
    assert three == 3


@pytest.mark.parametrize("number", [1])
def test_two_are_added(number):
    assert sums.total(number) == 3


def test_nothing_is_run():
    assert sums.LIMIT == 2
"""


def test_a_line_is_covered_by_the_tests_that_run_it_and_not_by_imports(tmp_path: Path) -> None:
    """Also by those whose fixtures run it; a line that only an import runs has no tests."""
    for file, text in {
        "sidecar/__init__.py": "",
        "sidecar/sums.py": SUM,
        "tests/__init__.py": "",
        "tests/test_sums.py": TESTS,
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    covering = CoveringTests(tmp_path, ["tests"], tmp_path)
    sums = Path("sidecar/sums.py")
    assert covering.of(sums, range(5, 6)) == [
        "tests/test_sums.py::test_a_fixture_adds",
        "tests/test_sums.py::test_two_are_added",
    ]
    assert covering.of(sums, range(1, 2)) == []
