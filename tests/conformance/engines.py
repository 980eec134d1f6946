"""The results of both engines and of the specification for a case, as texts."""

import base64
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import celpy
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from celpy import celtypes

from conformance.cases import Case
from sidecar.policy.cel import portable
from sidecar.policy.cel.cel_cpp import CelCppEngine
from sidecar.policy.cel.cel_python import TEXT_FUNCTIONS, CelPythonEngine
from sidecar.policy.cel.engine import CelError
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.files.timeout import with_timeout

CASE_SECONDS = 10.0
"""A thousand times what a case takes. An evaluator that crashes ends its pytest worker."""

_PARSER, _CHECKER = CelPythonEngine(), CelCppEngine()


class _Type(str):
    """The name of a type, as a value."""

    __slots__ = ()


_READ: dict[str, Callable[[Any], Any]] = {
    "boolValue": celtypes.BoolType,
    "int64Value": celtypes.IntType,
    "uint64Value": celtypes.UintType,
    "doubleValue": celtypes.DoubleType,
    "stringValue": celtypes.StringType,
    "bytesValue": lambda it: celtypes.BytesType(base64.b64decode(it)),
    "nullValue": lambda _: None,
    "typeValue": lambda it: _Type(it.removeprefix("google.protobuf.").removesuffix("_type")),
    "listValue": lambda it: celtypes.ListType([_value(each) for each in it.get("values", ())]),
    "mapValue": lambda it: celtypes.MapType(
        {_value(each["key"]): _value(each["value"]) for each in it.get("entries", ())}
    ),
}
_FROM_CPP: dict[str, Callable[[Any], Any]] = {
    "UINT": celtypes.UintType,
    "BYTES": bytes,
    "TYPE": lambda it: _Type(it.name().partition("<")[0]),
    "LIST": lambda it: [_from_cpp(each) for each in it],
    "MAP": lambda it: {key: _from_cpp(each) for key, each in it.items()},
}
# The first that fits: celpy's types extend Python's.
_WRITE: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (_Type, lambda it: f"type {it.lower()}"),
    (type, lambda it: f"type {it.__name__.lower().removesuffix('type').replace('none', 'null')}"),
    (NoneType, lambda _: "null"),
    (bool, lambda it: str(it).lower()),
    (celtypes.BoolType, lambda it: str(bool(it)).lower()),
    (celtypes.UintType, lambda it: f"{int(it)}u"),
    (int, lambda it: str(int(it))),
    (float, lambda it: str(float(it) + 0.0)),  # in the package's JSON, -0.0 is 0
    (str, lambda it: repr(str(it))),
    (bytes, lambda it: repr(bytes(it))),
    (list, lambda it: f"[{', '.join(map(_text, it))}]"),
    (dict, lambda it: f"{{{', '.join(sorted(f'{_text(k)}: {_text(v)}' for k, v in it.items()))}}}"),
    (object, lambda it: f"{type(it).__name__} {it}"),
)


def list_of(engine: str) -> Path:
    """Return the file that lists the expected failures of an evaluator."""
    return Path(__file__).with_name(f"{engine}.txt")


def failing(engine: str, cases: Iterable[Case]) -> dict[str, str]:
    """Return the cases in which an evaluator differs, with a text that says how."""
    found = {}
    for case in cases:
        expected = "an error" if case.value is None else _text(_value(case.value))
        if (got := _outcome(engine, case)) != expected:
            found[case.id] = f"{case.id}\n  {case.expression}\n  expected {expected}, got {got}"
    return found


def is_accepted(case: Case) -> bool:
    """Whether the expression may be part of a rule."""
    try:
        portable.check(_PARSER.parse(case.expression), case.expression, _CHECKER)
        _environment(case).compile(case.expression)
    except (CelError, RuntimeError):
        return False
    return True


def _outcome(engine: str, case: Case) -> str:
    evaluate = _cel_cpp if engine == "cel-cpp" else _cel_python
    try:
        return _text(with_timeout(case.id, lambda: evaluate(case), CASE_SECONDS))
    except PolicyError:
        return f"nothing in {CASE_SECONDS:g} s"
    except Exception:  # the evaluators raise many kinds
        return "an error"


def _cel_python(case: Case) -> Any:
    environment = celpy.Environment(case.container or None, runner_class=celpy.InterpretedRunner)
    runner = environment.program(_PARSER.parse(case.expression), TEXT_FUNCTIONS)
    return runner.evaluate({name: _value(each) for name, each in case.bindings.items()})


def _cel_cpp(case: Case) -> Any:
    expression = _environment(case).compile(case.expression, disable_check=not case.is_checked)
    values = {name: _value(each) for name, each in case.bindings.items()}
    # It takes celpy's values, which extend Python's; but nothing extends a bool.
    bools = {name: bool(v) for name, v in values.items() if isinstance(v, celtypes.BoolType)}
    return _from_cpp(expression.eval(data=values | bools))


def _environment(case: Case) -> cel.Env:
    declared = {name: _declared(each) for name, each in case.types.items()}
    return cel.NewEnv(
        variables=declared,
        container=case.container or None,
        extensions=[ext_strings.ExtStrings()],
    )


def _declared(type_: Mapping[str, Any]) -> cel.Type:
    match type_:
        case {"primitive": name}:
            return getattr(cel.Type, name.removesuffix("64"))
        case {"listType": {"elemType": item}}:
            return cel.Type.List(_declared(item))
        case {"mapType": {"keyType": key, "valueType": item}}:
            return cel.Type.Map(_declared(key), _declared(item))
    return cel.Type.NULL


def _value(value: Mapping[str, Any]) -> Any:
    ((kind, it),) = value.items()
    return _READ[kind](it)


def _from_cpp(result: cel.Value) -> Any:
    value, kind = result.value(), result.type().name().partition("<")[0]
    if kind == "ERROR":
        raise ValueError
    return _FROM_CPP[kind](value) if kind in _FROM_CPP else value


def _text(value: Any) -> str:
    return next(write(value) for kind, write in _WRITE if isinstance(value, kind))
