"""`each:` of a fixture: rows that the placeholders of a test are filled in from, with bounds."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc, YamlFile

MAX_ROWS = 2_000

MAX_PROBLEMS = 20
"""Placeholders without a value that are reported per test."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class Template:
    """One test as it is written, with the rows of its table; `problems` says what is wrong."""

    def __init__(self, document: YamlFile, loc: Loc, entry: Any) -> None:
        """Check the rows and placeholders, without filling them in."""
        each = entry.get("each", [{}]) if isinstance(entry, dict) else [{}]
        self._test = _without_table(entry)
        self._found = list(_placeholders(self._test, ()))
        self._document, self._loc = document, loc
        self.problems = self._wrong_rows(each)
        self._rows: list[dict[str, Any]] = [] if self.problems else each
        if not self.problems:
            self.problems = list(islice(self._without_value(), MAX_PROBLEMS))

    @property
    def size(self) -> int:
        """Return at most how many characters all tests have together, without making them."""
        often = Counter(name for _, name in self._found)
        filled_in = sum(
            times * len(str(row.get(name, "")))
            for row in self._rows
            for name, times in often.items()
        )
        return _size(self._test) * len(self._rows) + filled_in

    def tests(self) -> Iterator[Any]:
        """Yield the test for each row."""
        for row in self._rows:
            yield _fill_in(self._test, row)

    def problem(self, message: str) -> Problem:
        """Make a problem of the table as a whole."""
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
            self._document.problem((*loc, index), "a row of 'each' has to have names and values")
            for index, row in enumerate(each)
            if not isinstance(row, dict)
        ][:MAX_PROBLEMS]

    def _without_value(self) -> Iterator[Problem]:
        """Find each placeholder that a row has no value for: it would stay as it is written."""
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


def _without_table(entry: Any) -> Any:
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
    """Return about how many characters a value takes as it is written."""
    if isinstance(value, dict):
        return sum(len(str(key)) + _size(item) + 1 for key, item in value.items())
    if isinstance(value, list):
        return sum(_size(item) + 1 for item in value)
    return len(str(value))


def _fill_in(value: Any, row: dict[str, Any]) -> Any:
    """Put a row's values where the placeholders are."""
    if isinstance(value, dict):
        return {key: _fill_in(item, row) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_in(item, row) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole:
        return row[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(row[found[1]]), value)
