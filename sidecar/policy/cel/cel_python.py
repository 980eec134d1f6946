"""The engine cel-python (celpy): parses every rule, and evaluates where cel-cpp cannot run.

It uses only `InterpretedRunner`, since `CompiledRunner` keeps a request's state in module
globals, where other threads can read it.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import celpy
import lark
from celpy import adapter, celtypes
from celpy.celparser import CELParseError, CELParser
from celpy.evaluation import CELEvalError
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.policy.cel import text_functions, variables
from sidecar.policy.cel.engine import CelError, EvaluationError, Result, ResultKind
from sidecar.policy.cel.variables import Values

_ACCEPTED: dict[ResultKind, tuple[type, ...]] = {
    ResultKind.CONDITION: (bool,),
    ResultKind.CEILING: (int, float),
    ResultKind.SCOPE: (str,),
    ResultKind.TEXT: (bool, int, float, str),
}
_CELTYPES: dict[type, type] = {
    bool: celtypes.BoolType,
    int: celtypes.IntType,
    float: celtypes.DoubleType,
    str: celtypes.StringType,
}


class _Program:
    def __init__(self, runner: celpy.Runner, kind: ResultKind, *, double: bool) -> None:
        self._runner = runner
        self.double = double
        self._accepted = _ACCEPTED[kind]

    def evaluate(self, binding: dict[str, Any]) -> Result:
        try:
            value = self._runner.evaluate(_typed(binding, double=self.double))
        except Exception:  # RecursionError and ValueError escape, among others
            raise EvaluationError from None
        plain = _plain(value)
        if type(plain) not in self._accepted:
            raise EvaluationError
        result: Result = plain
        return result


class _Claims:
    """An expression over claims, which have no declared types."""

    def __init__(self, runner: celpy.Runner, variable: str) -> None:
        self._runner = runner
        self._variable = variable

    def text(self, claims: Mapping[str, Any]) -> str:
        try:
            value: Any = self._runner.evaluate({self._variable: adapter.json_to_cel(dict(claims))})
            value.encode()  # fails for half a surrogate pair
        except Exception:  # such as a number beyond int64
            raise EvaluationError from None
        if not isinstance(value, str):
            raise EvaluationError
        return str(value)


def _contains(text: str, part: str) -> celtypes.BoolType:
    return celtypes.BoolType(part in text)


def _lower_ascii(text: Any) -> celtypes.StringType:
    return celtypes.StringType(text_functions.lower_ascii(_text(text)))


def _split(text: Any, separator: str) -> celtypes.ListType:
    parts = text_functions.split(_text(text), separator)
    return celtypes.ListType([*map(celtypes.StringType, parts)])


def _trim(text: Any) -> celtypes.StringType:
    return celtypes.StringType(text_functions.trim(_text(text)))


def _text(value: Any) -> str:
    """Refuse what is no text, such as bytes, which have methods of the same names."""
    if not isinstance(value, str):
        raise TypeError
    return value


def _int(number: Any) -> celtypes.IntType:
    """Convert a number; infinity is an ordinary CEL error, which `||` may absorb."""
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError
    return celtypes.IntType(number)


def _or(one: Any, other: Any) -> Any:
    """Return the first of two errors; celpy nests both in a new one, which grows exponentially."""
    if _is_error(one) and _is_error(other):
        return one
    return _celpy_or(one, other)


def _and(one: Any, other: Any) -> Any:
    if _is_error(one) and _is_error(other):
        return one
    return _celpy_and(one, other)


def _is_error(value: Any) -> bool:
    return isinstance(value, CELEvalError)


_celpy_or, _celpy_and = celtypes.logical_or, celtypes.logical_and

TEXT_FUNCTIONS: Any = {"lowerAscii": _lower_ascii, "split": _split, "trim": _trim}
"""Functions that celpy lacks."""

_FUNCTIONS: Any = {
    "contains": _contains,  # celpy's fails for concatenated strings, which are plain str
    "int": _int,
    "_||_": _or,
    "_&&_": _and,
    **TEXT_FUNCTIONS,
}
"""Replacements of celpy's functions, and those that it lacks."""


def _keep_positions(token: lark.Token) -> lark.Token:
    """Turn `true` and `false` into literals, as celpy does, but keep their places."""
    if token.value in ("true", "false"):
        return lark.Token.new_borrow_pos("BOOL_LIT", token.value, token)
    return token


class CelPythonEngine:
    """Parses and evaluates, without static types."""

    name = "cel-python"
    joins = False

    def __init__(self) -> None:
        """Create an environment. celpy has one parser for the whole process."""
        CELParser.ambiguous_literals = staticmethod(_keep_positions)  # type: ignore[assignment,method-assign]
        celtypes.logical_or = _or  # type: ignore[assignment]  # macros use these
        celtypes.logical_and = _and  # type: ignore[assignment]
        self._environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
        # Messages from the data files are converted once, not per call.
        self._converted: dict[int, tuple[Message, celtypes.Value]] = {}
        self._last_lists: tuple[Mapping[str, Sequence[str]], celtypes.Value] | None = None

    def parse(self, source: str) -> lark.Tree[lark.Token]:
        """Return the syntax tree. Raises CelError."""
        try:
            return self._environment.compile(source)
        except CELParseError as error:
            raise CelError("is not portable CEL", error.line or 0, error.column or 0) from None
        except Exception:  # RecursionError among others
            raise CelError("is not portable CEL") from None

    def compile(self, source: str, kind: ResultKind, *, double: bool = False) -> _Program:
        """Compile an expression. Raises CelError."""
        runner = self._environment.program(self.parse(source), _FUNCTIONS)
        return _Program(runner, kind, double=double)

    def compile_claims(self, source: str, variable: str) -> "_Claims":
        """Compile an expression over untyped claims. Raises CelError."""
        return _Claims(self._environment.program(self.parse(source), _FUNCTIONS), variable)

    def evaluate_part(
        self, tree: lark.Tree[lark.Token], binding: dict[str, Any], *, double: bool = False
    ) -> Any:
        """Return a part's value as plain Python. Raises EvaluationError."""
        try:
            runner = self._environment.program(tree, _FUNCTIONS)
            return _plain(runner.evaluate(_typed(binding, double=double)))
        except Exception:
            raise EvaluationError from None

    def bind(self, values: Values) -> dict[str, Any]:
        """Convert the values of one call."""
        return {
            "request": _from_message(values.request),
            "principal": _from_message(values.principal),
            "role": self._from_data(values.role),
            "workspace": self._from_data(values.workspace),
            "model": self._from_data(values.model),
            "key": _from_message(values.key),
            "price": _from_message(values.price),
            "lists": self._lists(values.lists),
            "now": celtypes.TimestampType(values.now),
            "today": celtypes.StringType(values.today),
            "spend": celtypes.MapType(
                {
                    celtypes.StringType(rule): _from_message(spend)
                    for rule, spend in values.spend.items()
                }
            ),
            "unlimited": celtypes.IntType(variables.UNLIMITED_INT),
        }

    def _lists(self, lists: Mapping[str, Sequence[str]]) -> celtypes.Value:
        if self._last_lists is None or self._last_lists[0] is not lists:
            converted = celtypes.MapType(
                {_scalar(name): celtypes.ListType([*map(_scalar, texts)])
                 for name, texts in lists.items()}
            )  # fmt: skip
            self._last_lists = (lists, converted)
        return self._last_lists[1]

    def _from_data(self, message: Message) -> celtypes.Value:
        kept = self._converted.get(id(message))
        if kept is None or kept[0] is not message:
            kept = self._converted[id(message)] = (message, _from_message(message))
        return kept[1]


def _typed(binding: dict[str, Any], *, double: bool) -> dict[str, Any]:
    """Replace `unlimited` with a double if the expression needs one."""
    if not double:
        return binding
    return {**binding, "unlimited": celtypes.DoubleType(variables.UNLIMITED_DOUBLE)}


def roots(tree: lark.Tree[lark.Token]) -> frozenset[str]:
    """Return the variables that an expression reads.

    A macro's variable with the name of a policy variable is included, too: there may be
    too many names, never too few.
    """
    names = {
        str(node.children[0])
        for node in tree.iter_subtrees()
        if node.data in ("ident", "dot_ident")
    }
    return frozenset(names & variables.NAMES)


def _plain(value: Any) -> Any:
    """Convert to plain Python; some of celpy's operations return plain values already."""
    match value:
        case celtypes.BoolType() | bool():
            return bool(value)
        case celtypes.UintType():
            return None
        case int() | float() | str():
            return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
        case celtypes.ListType():
            return [_plain(item) for item in value]
        case celtypes.MapType():
            return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def _from_message(message: Message) -> celtypes.Value:
    """Convert a message to a map of all fields, including those at their defaults."""
    return celtypes.MapType(
        {
            celtypes.StringType(field.name): _from_field(field, getattr(message, field.name))
            for field in message.DESCRIPTOR.fields
        }
    )


def _from_field(field: Any, value: Any) -> celtypes.Value:
    if _is_map(field):
        return celtypes.MapType({_scalar(key): _scalar(item) for key, item in value.items()})
    if field.is_repeated:
        return celtypes.ListType([_scalar(item) for item in value])
    return _scalar(value)


def _is_map(field: Any) -> bool:
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def _scalar(value: Any) -> celtypes.Value:
    if isinstance(value, Timestamp):
        return celtypes.TimestampType(value.ToDatetime(UTC))
    convert = _CELTYPES.get(type(value))
    return _from_message(value) if convert is None else convert(value)
