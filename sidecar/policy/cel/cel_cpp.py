"""The engine cel-cpp (Google's, by cel-expr-python): statically typed, about 3 µs per rule."""

from collections.abc import Mapping
from typing import Any, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from google.protobuf import descriptor_pool

from sidecar.policy.cel import cel_errors, fields, variables
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
_UNLIMITED = {False: variables.UNLIMITED_INT, True: variables.UNLIMITED_DOUBLE}
_EXTENSIONS = [ext_strings.ExtStrings()]
"""The functions on texts, of which rules may call those in `text_functions.py`."""


class _Program:
    def __init__(
        self, source: str, whole: cel.Expression, by_field: cel.Expression | None, returns: str,
        *, double: bool,
    ) -> None:  # fmt: skip
        self._whole = whole.eval
        self._variables = fields.whole_read_by(source)
        self._by_field = whole.eval if by_field is None else by_field.eval
        self._reads = self._variables if by_field is None else fields.read_by(source)
        self._type = _PYTHON_TYPES[returns]
        self.double = double
        # Errors are returned as values, whose Python type is str.
        self._returns = getattr(cel.Type, returns) if returns == "STRING" else None

    def evaluate(self, binding: "_Binding") -> Result:
        try:
            result = self._evaluate(binding)
            value = result.value()
        except Exception:  # such as cel-cpp's own limit of iterations
            raise EvaluationError from None
        if type(value) is not self._type:
            raise EvaluationError
        if self._returns is not None and result.type() != self._returns:
            raise EvaluationError
        return cast("Result", value)

    def _evaluate(self, binding: "_Binding") -> cel.Value:
        try:
            activation = binding.activation(self._reads, double=self.double)
        except fields.CutTextError:
            return self._whole(binding.activation(self._variables, double=self.double))
        return self._by_field(activation)


class _Binding:
    """The values of one call that its expressions have read, with both types of `unlimited`."""

    __slots__ = ("_activations", "_environments", "_values")

    def __init__(self, values: Values, environments: Mapping[bool, cel.Env]) -> None:
        """Use the environment in which `unlimited` is an int (False) or a double (True)."""
        self._values = values
        self._environments = environments
        self._activations: dict[bool, tuple[frozenset[str], cel.Activation]] = {}

    def activation(self, names: frozenset[str], *, double: bool) -> cel.Activation:
        """Return an activation with these variables, and with those that were read before.

        Raises CutTextError.
        """
        if before := self._activations.get(double):
            if names <= before[0]:
                return before[1]
            names |= before[0]
        values = self._values
        bound = {name: fields.READS[name](values) for name in names}
        bound[variables.UNLIMITED] = _UNLIMITED[double]
        activation = self._environments[double].Activation(bound)
        self._activations[double] = names, activation
        return activation


class CelCppEngine:
    """Checks types against the protobuf messages, and evaluates."""

    name = "cel-cpp"
    joins = True

    def __init__(self) -> None:
        """Declare the variables in four environments: by what `unlimited` is, and with fields."""
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
        self._environments = {
            (double, by_field): cel.NewEnv(
                descriptor_pool=pool,
                variables={
                    **declared,
                    **(fields.TYPES if by_field else {}),
                    variables.UNLIMITED: cel.Type.DOUBLE if double else cel.Type.INT,
                },
                extensions=_EXTENSIONS,
            )
            for double in (False, True)
            for by_field in (False, True)
        }
        self._by_field = {double: self._environments[double, True] for double in (False, True)}

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
        return _Binding(values, self._by_field)

    def _compile(self, source: str, kind: ResultKind, *, double: bool) -> _Program:
        try:
            whole = self._environments[double, False].compile(source)
            returns = whole.return_type().name()  # fails for a map with odd keys
        except Exception as error:
            raise cel_errors.read(source, str(error)) from None
        if returns not in _ACCEPTED[kind]:
            raise CelError(f"is of type {returns.lower()}, but has to be {kind.value}")
        by_field = None
        if not fields.asks_presence(source):
            by_field = self._environments[double, True].compile(source)
        return _Program(source, whole, by_field, returns, double=double)


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
