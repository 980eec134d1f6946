"""The engine cel-cpp (Google's, by cel-expr-python): statically typed, about 3 µs per rule."""

from collections.abc import Mapping
from typing import Any, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import descriptor_pool

from sidecar.policy.cel import cel_errors, variables
from sidecar.policy.cel.engine import CelError, EvaluationError, Result, ResultKind
from sidecar.policy.cel.variables import Values
from sidecar.v1 import policy_input_pb2

_ACCEPTED: dict[ResultKind, frozenset[str]] = {
    ResultKind.CONDITION: frozenset({"BOOL"}),
    ResultKind.CEILING: frozenset({"INT", "DOUBLE"}),
    ResultKind.SCOPE: frozenset({"STRING"}),
    ResultKind.TEXT: frozenset({"STRING", "INT", "DOUBLE", "BOOL"}),
}
_PYTHON_TYPES: dict[str, type] = {"BOOL": bool, "INT": int, "DOUBLE": float, "STRING": str}
_EXTENSIONS = [ext_strings.ExtStrings()]
"""The functions on texts, of which rules may call those in `text_functions.py`."""


class _Program:
    def __init__(self, expression: cel.Expression, returns: str, *, double: bool) -> None:
        self._evaluate = expression.eval
        self._type = _PYTHON_TYPES[returns]
        self.double = double
        # Errors are returned as values, whose Python type is str.
        self._returns = getattr(cel.Type, returns) if returns == "STRING" else None

    def evaluate(self, binding: "_Binding") -> Result:
        try:
            result = self._evaluate(binding.double if self.double else binding.int)
            value = result.value()
        except Exception:  # such as cel-cpp's own limit of iterations
            raise EvaluationError from None
        if type(value) is not self._type:
            raise EvaluationError
        if self._returns is not None and result.type() != self._returns:
            raise EvaluationError
        return cast("Result", value)


class _Binding:
    """The values of one call, with `unlimited` as an int, and as a double on demand."""

    __slots__ = ("_double", "_engine", "_values", "int")

    def __init__(self, engine: "CelCppEngine", values: Values) -> None:
        self._engine = engine
        self._values = values
        self._double: cel.Activation | None = None
        self.int = engine.activation(values, double=False)

    @property
    def double(self) -> cel.Activation:
        if self._double is None:
            self._double = self._engine.activation(self._values, double=True)
        return self._double


class CelCppEngine:
    """Checks types against the protobuf messages, and evaluates."""

    name = "cel-cpp"
    joins = True

    def __init__(self) -> None:
        """Declare the variables in two environments: `unlimited` as an int, and as a double."""
        pool = descriptor_pool.Default()
        declared = {
            name: cel.Type(message.full_name) for name, message in variables.MESSAGES.items()
        }
        declared[variables.NOW] = cel.Type.TIMESTAMP
        declared[variables.TODAY] = cel.Type.STRING
        declared[variables.LISTS] = cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.STRING))
        declared[variables.SPEND] = cel.Type.Map(
            cel.Type.STRING, cel.Type(policy_input_pb2.Spend.DESCRIPTOR.full_name)
        )
        self._int, self._double = (
            cel.NewEnv(
                descriptor_pool=pool,
                variables={**declared, variables.UNLIMITED: number},
                extensions=_EXTENSIONS,
            )
            for number in (cel.Type.INT, cel.Type.DOUBLE)
        )

    def compile(self, source: str, kind: ResultKind, *, double: bool = False) -> _Program:  # noqa: ARG002
        """Compile and check types. Raises CelError at the first error."""
        try:
            return self._compile(source, kind, double=False)
        except CelError as as_int:
            if variables.UNLIMITED not in source:
                raise
            try:
                return self._compile(source, kind, double=True)
            except CelError:
                raise as_int from None

    def bind(self, values: Values) -> _Binding:
        """Prepare the values of one call."""
        return _Binding(self, values)

    def activation(self, values: Values, *, double: bool) -> cel.Activation:
        """Return an activation of the values, with `unlimited` as a double or an int."""
        unlimited: Any = variables.UNLIMITED_DOUBLE if double else variables.UNLIMITED_INT
        return (self._double if double else self._int).Activation(
            {
                "request": values.request,
                "principal": values.principal,
                "role": values.role,
                "workspace": values.workspace,
                "model": values.model,
                "key": values.key,
                "price": values.price,
                "lists": values.lists,
                "now": values.now,
                "today": values.today,
                "spend": values.spend,
                "unlimited": unlimited,
            }
        )

    def _compile(self, source: str, kind: ResultKind, *, double: bool) -> _Program:
        try:
            expression = (self._double if double else self._int).compile(source)
            returns = expression.return_type().name()  # fails for a map with odd keys
        except Exception as error:
            raise cel_errors.read(source, str(error)) from None
        if returns not in _ACCEPTED[kind]:
            raise CelError(f"is of type {returns.lower()}, but has to be {kind.value}")
        return _Program(expression, returns, double=double)


class _Claims:
    """An expression over claims, which have no declared types."""

    def __init__(self, environment: cel.Env, expression: cel.Expression, variable: str) -> None:
        self._activation = environment.Activation
        self._evaluate = expression.eval
        self._variable = variable

    def text(self, claims: Mapping[str, Any]) -> str:
        try:
            result = self._evaluate(self._activation({self._variable: claims}))
            value = result.value()
        except Exception:  # such as a number beyond int64, or invalid text
            raise EvaluationError from None
        # Errors are returned as values, whose Python type is str.
        if type(value) is not str or result.type() != cel.Type.STRING:
            raise EvaluationError
        return value


def compile_claims(source: str, variable: str) -> _Claims:
    """Compile an expression over untyped claims that yields a string. Raises CelError."""
    claims = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    environment = cel.NewEnv(variables={variable: claims}, extensions=_EXTENSIONS)
    try:
        expression = environment.compile(source)
        returns = expression.return_type().name()
    except Exception as error:
        raise cel_errors.read(source, str(error), (variable,)) from None
    if returns not in ("STRING", "DYN"):
        raise CelError(f"is of type {returns.lower()}, but has to be {ResultKind.SCOPE.value}")
    return _Claims(environment, expression, variable)
