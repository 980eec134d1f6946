"""CEL expressions over `claims` of a token or certificate, which yield a principal's field.

They have to be valid for both engines, like rules. Claims have no declared types, so most
type errors appear only when a caller presents them. Without macros, each part of an
expression reads the claims at most once, so the bound on their size bounds its time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.policy.cel import cel_errors, portable
from sidecar.policy.cel.cel_python import CelPythonEngine
from sidecar.policy.cel.engine import CelError, EvaluationError
from sidecar.policy.cel.syntax import Tree, children

VARIABLE = "claims"
MAX_EXPRESSION_BYTES = 1024

_NAMES = frozenset({VARIABLE})
_MACROS = {"all", "exists", "exists_one", "filter", "map"}


class Claims(Protocol):
    """A compiled expression over claims."""

    def text(self, claims: Mapping[str, Any]) -> str:
        """Return the value for JSON claims. Raises EvaluationError."""


@dataclass(frozen=True, slots=True)
class _OfPlainClaims:
    """An expression that has no value if any text of the claims has a control character.

    cel-cpp reads a Python string up to its first NUL: "admin", NUL, "x" would prove "admin".
    Half a surrogate pair counts, too, because only one of the engines can read it.
    """

    _expression: Claims

    def text(self, claims: Mapping[str, Any]) -> str:
        """Return the value for JSON claims. Raises EvaluationError."""
        if any(map(_CONTROL.search, _texts(claims))):
            raise EvaluationError
        return self._expression.text(claims)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _texts(claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of the claims: names, values and items, at any depth."""
    left: list[Any] = [claims]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            left += (*value, *value.values())
        elif isinstance(value, list | tuple):
            left += value


def compile_claims(source: str, *, cpp: bool = True) -> Claims:
    """Compile an expression that yields a string. Raises CelError.

    Both engines have to accept it; cel-cpp evaluates it where available, unless `cpp` is
    False.
    """
    if odd := _CONTROL.search(source):
        raise CelError(f"has the character U+{ord(odd[0]):04X}", 1, odd.start() + 1)
    if len(source.encode()) > MAX_EXPRESSION_BYTES:
        raise CelError(f"is longer than {MAX_EXPRESSION_BYTES} bytes")
    cel_errors.check_brackets(source)
    by_cpp = _by_cpp(source)
    engine = CelPythonEngine()
    tree = engine.parse(source)
    _refuse_loops(tree)
    try:
        portable.check(tree, source, None, _NAMES)
    except RecursionError:
        raise CelError("nests too deeply") from None
    if by_cpp is not None and cpp:
        return _OfPlainClaims(by_cpp)
    return _OfPlainClaims(engine.compile_claims(source, VARIABLE))


def _by_cpp(source: str) -> Claims | None:
    """Compile with cel-cpp, if this machine has it."""
    try:
        from sidecar.policy.cel import cel_cpp  # noqa: PLC0415 - not available everywhere
    except ImportError:
        return None
    return cel_cpp.compile_claims(source, VARIABLE)


def _refuse_loops(tree: Tree) -> None:
    for node in tree.iter_subtrees():
        called = {"member_dot_arg": 1, "ident_arg": 0}.get(str(node.data))
        name = "" if called is None else str(node.children[called])
        if name in _MACROS or name == "has":
            place = children(node)[0].meta if called else node.meta
            hint = f'test for a claim with in, as in "groups" in {VARIABLE}'
            message = f"{name}() is not available for claims"
            raise CelError(message, place.line or 0, place.column or 0, hint)
