"""YAML files with the place of every entry, without features that could blow up."""

import re
from typing import Any, ClassVar, cast

import yaml

from sidecar.policy.files.problems import Problem, at

MAX_YAML_BYTES = 1_048_576
MAX_DEPTH = 16

Loc = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """Reads scalars as YAML 1.2 does: `010` and `2026-01-01` are texts, `yes` is not a bool."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


_NUMBER = r"-?(?:0|[1-9][0-9_]{0,17})"
for _tag, _pattern in (
    ("bool", r"true|false"),
    ("int", _NUMBER),
    ("float", rf"{_NUMBER}\.\d{{1,18}}|-?\.inf|\.nan"),
    ("null", r"null|~|"),
    ("merge", r"<<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), None
    )


_NOT_A_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2 does not allow outside of escapes (its section 5.1)."""


_TOO_DEEP = "nests too deeply"
_ESCAPE_HINT = r"one character is one escape, as in \U0001F600"


class YamlFile:
    """A parsed YAML file: plain values, and the place of each."""

    def __init__(self, file: str, text: str) -> None:
        """Parse the text; `problems` has its errors as YAML."""
        self.file, self.text = file, text
        self.problems: list[Problem] = []
        self.value: Any = {}
        self._places: dict[Loc, tuple[int, int]] = {}
        self._values: dict[Loc, tuple[int, int]] = {}
        """The places of scalar values."""
        if len(text.encode()) > MAX_YAML_BYTES:
            self.problems.append(Problem(file, 0, 0, f"is larger than {MAX_YAML_BYTES} bytes"))
            return
        if wrong := _NOT_A_CHARACTER.search(text):
            before = text[: wrong.start()]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            self._wrong(line, column, f"has the character U+{ord(wrong[0]):04X}")
            return
        loader, events = _Loader(text), yaml.CSafeLoader(text)
        try:
            self._refuse_unsafe_features(events)
            node = loader.get_single_node()
            if node is not None:
                self._walk(loader, node, ())
                if not self.problems:
                    self.value = loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            message = error.problem or "is not valid YAML"
            if "nesting depth" in message:  # libyaml's own bound, when it looks far ahead
                message = _TOO_DEEP
            self._wrong(line, column, message, _ESCAPE_HINT if "escape code" in message else "")
        except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
            self._wrong(1, 1, "is not valid YAML")
        finally:
            loader.dispose()
            events.dispose()

    def problem(self, loc: Loc, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """Return a problem at an entry's value, or its key, or the nearest enclosing entry."""
        while loc and loc not in self._places:
            loc = loc[:-1]
        line, column = self._places.get(loc, (1, 1))
        if not at_key:
            line, column = self._values.get(loc, (line, column))
        return at(self.file, self.text, line, column, message, hint)

    def has(self, loc: Loc) -> bool:
        """Whether the file has this entry."""
        return loc in self._places

    def line(self, loc: Loc) -> int:
        """Return the line of an entry, or of the nearest enclosing one."""
        while loc and loc not in self._places:
            loc = loc[:-1]
        return self._places.get(loc, (1, 1))[0]

    def _wrong(self, line: int, column: int, message: str, hint: str = "") -> None:
        self.problems.append(at(self.file, self.text, line, column, message, hint))

    def _refuse_unsafe_features(self, events: yaml.CSafeLoader) -> None:
        """Refuse features by which a small file can expand to a huge value or to any object."""
        depth = 0
        while events.check_event():
            event = cast("yaml.Event", events.get_event())
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            problem = ""
            if isinstance(event, yaml.AliasEvent):
                problem = "YAML aliases are not allowed"
            elif getattr(event, "tag", None) is not None:
                problem = "YAML tags are not allowed"
            elif depth > MAX_DEPTH:
                problem = _TOO_DEEP
            if problem:
                mark = cast("yaml.Mark", event.start_mark)
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)

    def _walk(self, loader: _Loader, node: yaml.Node, loc: Loc) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*loc, str(key.value))
                self._check_key(key, inner)
                self._places[inner] = _place(key)
                if isinstance(value, yaml.ScalarNode) and value.value:
                    self._values[inner] = _place(value)
                self._walk(loader, value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._places[(*loc, index)] = _place(value)
                self._walk(loader, value, (*loc, index))
        else:
            self._check_text(node)
            try:
                loader.construct_object(node)
            except (ValueError, yaml.YAMLError):
                self._wrong(*_place(node), "is not a valid YAML value")

    def _check_text(self, node: yaml.Node) -> None:
        """Refuse a NUL, also as an escape: libraries in C take it for the end of a text."""
        if "\0" in node.value:
            self._wrong(*_place(node), "has the character U+0000")

    def _check_key(self, key: yaml.Node, loc: Loc) -> None:
        place = _place(key)
        self._check_text(key)
        if loc in self._places:
            self._wrong(*place, f"'{key.value}' is there twice")
        elif key.tag == "tag:yaml.org,2002:merge":
            self._wrong(*place, "YAML merge keys are not allowed")
        elif key.tag != "tag:yaml.org,2002:str":
            self._wrong(*place, "a key has to be a string", "put it in quotes")


def _place(node: yaml.Node) -> tuple[int, int]:
    """Return the line and column where a node starts."""
    return node.start_mark.line + 1, node.start_mark.column + 1
