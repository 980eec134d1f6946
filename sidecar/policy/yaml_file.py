"""YAML whose every entry knows its place, and that cannot blow up."""

import re
from typing import Any, ClassVar, cast

import yaml

from sidecar.policy.problems import Problem, at

MAX_YAML_BYTES = 1_048_576
MAX_DEPTH = 16

Loc = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Reads scalars as YAML 1.2 does: `010` and `1:30` are no numbers, `yes` is no bool."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


_NUMBER = r"-?(?:0|[1-9][0-9_]{0,17})"
_DAY, _HOUR = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)?"
for _tag, _pattern in (
    ("bool", r"true|false"),
    ("int", _NUMBER),
    ("float", rf"{_NUMBER}\.\d{{1,18}}|-?\.inf|\.nan"),
    ("null", r"null|~|"),
    ("timestamp", rf"{_DAY}(?:[Tt ]{_HOUR})?"),
    ("merge", r"<<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), None
    )


class YamlFile:
    """A parsed data file: plain values, and the place of each."""

    def __init__(self, file: str, text: str) -> None:
        """Parse the text; `problems` says what is wrong with it as YAML."""
        self.file, self.text = file, text
        self.problems: list[Problem] = []
        self.value: Any = {}
        self._places: dict[Loc, tuple[int, int]] = {}
        self._values: dict[Loc, tuple[int, int]] = {}
        """Where the values of keys are that are one word."""
        if len(text.encode()) > MAX_YAML_BYTES:
            self.problems.append(Problem(file, 0, 0, f"is larger than {MAX_YAML_BYTES} bytes"))
            return
        loader = _Loader(text)
        try:
            self._refuse_what_blows_up(text)
            node = loader.get_single_node()
            if node is not None:
                self._walk(loader, node, ())
                if not self.problems:
                    self.value = loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._wrong(line, column, error.problem or "is not YAML")
        except (yaml.YAMLError, RecursionError, ValueError):
            self._wrong(1, 1, "is not YAML")
        finally:
            loader.dispose()

    def problem(self, loc: Loc, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """Make a problem at the value of an entry, or its key, or the nearest one around it."""
        while loc and loc not in self._places:
            loc = loc[:-1]
        line, column = self._places.get(loc, (1, 1))
        if not at_key:
            line, column = self._values.get(loc, (line, column))
        return at(self.file, self.text, line, column, message, hint)

    def has(self, loc: Loc) -> bool:
        """Whether the file has such an entry."""
        return loc in self._places

    def line(self, loc: Loc) -> int:
        """Return the line of an entry, or of the nearest one around it."""
        while loc and loc not in self._places:
            loc = loc[:-1]
        return self._places.get(loc, (1, 1))[0]

    def _wrong(self, line: int, column: int, message: str, hint: str = "") -> None:
        self.problems.append(at(self.file, self.text, line, column, message, hint))

    def _refuse_what_blows_up(self, text: str) -> None:
        """Refuse what lets a small file stand for a huge value, or for any object."""
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            problem = ""
            if isinstance(event, yaml.AliasEvent):
                problem = "YAML aliases are not used here"
            elif getattr(event, "tag", None) is not None:
                problem = "YAML tags are not used here"
            elif depth > MAX_DEPTH:
                problem = "nests too deep"
            if problem:
                mark = cast("yaml.Mark", event.start_mark)
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)

    def _walk(self, loader: _Loader, node: yaml.Node, loc: Loc) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                line, column = key.start_mark.line + 1, key.start_mark.column + 1
                inner = (*loc, str(key.value))
                if inner in self._places:
                    self._wrong(line, column, f"'{key.value}' stands twice")
                elif key.tag == "tag:yaml.org,2002:merge":
                    self._wrong(line, column, "YAML merge keys are not used here")
                elif key.tag != "tag:yaml.org,2002:str":
                    self._wrong(line, column, "a key has to be a text", "put it in quotes")
                self._places[inner] = (line, column)
                if isinstance(value, yaml.ScalarNode) and value.value:
                    mark = value.start_mark
                    self._values[inner] = (mark.line + 1, mark.column + 1)
                self._walk(loader, value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                mark = value.start_mark
                self._places[(*loc, index)] = (mark.line + 1, mark.column + 1)
                self._walk(loader, value, (*loc, index))
        else:
            try:
                loader.construct_object(node)
            except (ValueError, yaml.YAMLError):
                mark = node.start_mark
                self._wrong(mark.line + 1, mark.column + 1, "is not a value that YAML knows")
