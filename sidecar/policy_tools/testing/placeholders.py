"""Placeholders of a fixture: `each:` has the rows of values that replace them, one test a row."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc, YamlFile

MAX_ROWS = 2_000

MAX_PROBLEMS = 20
"""The most placeholders without a value that are reported for a test."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class Template:
    """A test with placeholders, and the rows of its `each`; `problems` has what is wrong."""

    def __init__(self, document: YamlFile, loc: Loc, entry: Any) -> None:
        """Check the rows and placeholders, without replacing any."""
        each = entry.get("each", [{}]) if isinstance(entry, dict) else [{}]
        self._test = _without_each(entry)
        self._found = list(_placeholders(self._test, ()))
        self._document, self._loc = document, loc
        self.problems = self._wrong_rows(each)
        self._rows: list[dict[str, Any]] = [] if self.problems else each
        if not self.problems:
            self.problems = list(islice(self._without_value(), MAX_PROBLEMS))
            self.problems += islice(self._without_use(), MAX_PROBLEMS)

    @property
    def size(self) -> int:
        """An upper bound of the characters of all tests, without creating them."""
        occurrences = Counter(name for _, name in self._found)
        replaced = sum(
            count * len(str(row.get(name, "")))
            for row in self._rows
            for name, count in occurrences.items()
        )
        return _size(self._test) * len(self._rows) + replaced

    def tests(self) -> Iterator[Any]:
        """Yield the test for each row."""
        for row in self._rows:
            yield _replaced(self._test, row)

    def problem(self, message: str) -> Problem:
        """Return a problem about `each` as a whole."""
        return self._document.problem((*self._loc, "each"), message, at_key=True)

    def _wrong_rows(self, each: Any) -> list[Problem]:
        loc = (*self._loc, "each")
        if not isinstance(each, list):
            message = "'each' has to be a list of rows, as in [{role: analyst, output: 400}]"
            return [self._document.problem(loc, message)]
        if not each:
            return [self._document.problem(loc, "'each' has no rows, so nothing is tested")]
        if len(each) > MAX_ROWS:
            return [self.problem(f"'each' has more than {MAX_ROWS:,} rows")]
        return [
            self._document.problem(
                (*loc, index), "a row of 'each' has to be a mapping of names to values"
            )
            for index, row in enumerate(each)
            if not isinstance(row, dict)
        ][:MAX_PROBLEMS]

    def _without_value(self) -> Iterator[Problem]:
        """Find each placeholder without a value in some row: it would stay in the test."""
        names = {name for _, name in self._found}
        lacking: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            for name in names - row.keys():
                lacking.setdefault(name, row)
        for loc, name in self._found:
            if name in lacking:
                row = lacking[name]
                message = f"the rows of 'each' have no '{name}'" if row else "there is no 'each'"
                hint = did_you_mean(name, row)
                yield self._document.problem((*self._loc, *loc), f"${{{name}}}: {message}", hint)

    def _without_use(self) -> Iterator[Problem]:
        """Find each value that no placeholder stands for, where it comes first."""
        used = {name for _, name in self._found}
        unused: dict[str, int] = {}
        for index, row in enumerate(self._rows):
            for name in row.keys() - used:
                unused.setdefault(name, index)
        for name, index in unused.items():
            message = f"no placeholder is ${{{name}}}, so this is not used"
            loc = (*self._loc, "each", index, name)
            yield self._document.problem(loc, message, did_you_mean(name, used), at_key=True)


def _without_each(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {key: item for key, item in entry.items() if key != "each"}


def _placeholders(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the name of each placeholder."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _placeholders(item, (*loc, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _placeholders(item, (*loc, index))
    elif isinstance(value, str):
        for name in _PLACEHOLDER.findall(value):
            yield loc, name


def _size(value: Any) -> int:
    """Return about how many characters it takes to write a value."""
    if isinstance(value, dict):
        return sum(len(str(key)) + _size(item) + 1 for key, item in value.items())
    if isinstance(value, list):
        return sum(_size(item) + 1 for item in value)
    return len(str(value))


def _replaced(value: Any, row: dict[str, Any]) -> Any:
    """Return a value with its placeholders replaced by the values of a row."""
    if isinstance(value, dict):
        return {key: _replaced(item, row) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, row) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole:
        return row[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(row[found[1]]), value)
