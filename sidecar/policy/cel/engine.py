"""What an evaluator of CEL does for us. There are two, on purpose.

A rule is accepted only if both accept it: cel-python proves that it is portable
CEL, cel-cpp that its types are right. Either can evaluate requests.
"""

from enum import Enum
from typing import Any, Protocol

from sidecar.policy.cel.variables import Values

Result = bool | int | float | str


class ResultKind(Enum):
    """What an expression has to yield."""

    CONDITION = "a bool"
    CEILING = "an int, a double or `unlimited`"
    SCOPE = "a string"
    TEXT = "a string, an int, a double or a bool"


class CelError(Exception):
    """An expression is not acceptable; line and column start at 1, 0 is all of it."""

    def __init__(self, message: str, line: int = 0, column: int = 0, hint: str = "") -> None:
        """Keep what is wrong, where, and the way out."""
        super().__init__(message)
        self.message, self.line, self.column, self.hint = message, line, column, hint


class EvaluationError(Exception):
    """An expression yields no usable value for this call.

    It has no text: what the evaluators say may contain values of the request.
    """


class Program(Protocol):
    """A compiled expression."""

    double: bool
    """Whether `unlimited` is a double in it, not an int."""

    def evaluate(self, binding: Any) -> Result:
        """Return the value for a binding of this engine. Raises EvaluationError."""


class Engine(Protocol):
    """An evaluator of CEL."""

    name: str
    joins: bool
    """Whether one large expression costs it less than the small ones it is made of."""

    def compile(self, source: str, kind: ResultKind, *, double: bool = False) -> Program:
        """Compile an expression. Raises CelError.

        An engine that knows no types is told whether `unlimited` is a double.
        """

    def bind(self, values: Values) -> Any:
        """Prepare the values of one call, for any number of programs."""
