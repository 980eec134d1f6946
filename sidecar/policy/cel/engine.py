"""The interface of CEL engines. There are two, on purpose.

A rule has to be accepted by both: cel-python parses it, and cel-cpp checks its types. Either
can evaluate requests.
"""

from enum import Enum
from typing import Any, Protocol

from sidecar.policy.cel.variables import Values

Result = bool | int | float | str


class ResultKind(Enum):
    """The type of value that an expression has to yield."""

    CONDITION = "a bool"
    CEILING = "an int, a double or `unlimited`"
    SCOPE = "a string"
    TEXT = "a string, an int, a double or a bool"


class CelError(Exception):
    """An expression is invalid; line and column start at 1, 0 is the whole expression."""

    def __init__(self, message: str, line: int = 0, column: int = 0, hint: str = "") -> None:
        """Keep the message, its place, and a hint."""
        super().__init__(message)
        self.message, self.line, self.column, self.hint = message, line, column, hint


class EvaluationError(Exception):
    """An expression yields no usable value for this call.

    It has no text, because the engines' messages may contain values of the request.
    """


class Program(Protocol):
    """A compiled expression."""

    double: bool
    """Whether `unlimited` is a double in it, rather than an int."""

    def evaluate(self, binding: Any) -> Result:
        """Return the value for a binding of the same engine. Raises EvaluationError."""


class Engine(Protocol):
    """A CEL engine."""

    name: str
    joins: bool
    """Whether one large expression is faster than its parts by themselves."""

    def compile(self, source: str, kind: ResultKind, *, double: bool = False) -> Program:
        """Compile an expression. Raises CelError.

        `double` tells an engine without types whether `unlimited` is a double.
        """

    def bind(self, values: Values) -> Any:
        """Prepare the values of one call, for any number of programs."""
