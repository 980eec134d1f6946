"""From the claims of a proof to a caller, and remembering those that were verified."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.identity.caller import Caller, UnauthenticatedError
from sidecar.identity.pins import is_value, read_pair
from sidecar.policy.cel.claims import Claims, compile_claims
from sidecar.policy.cel.engine import CelError, EvaluationError
from sidecar.policy.files.problems import at

MAX_REMEMBERED = 10_000
REMEMBERED_SECONDS = 60.0
"""For so long a proof is not verified again: so late is a key that was taken back."""

_PAIR_BEGINS = re.compile(r"\w+=(?!=)")

ClaimMapping = Mapping[str, Claims]
"""Expressions by the names of the principal's fields that they make."""


def read_mapping(pairs: Iterable[str]) -> ClaimMapping:
    """Compile claims written as FIELD=CEL.

    Raises ValueError, which says which is wrong, and where.
    """
    mapping: dict[str, Claims] = {}
    for pair in _joined(pairs):
        name, source = read_pair(pair, "id=claims.sub")
        if name in mapping:
            raise ValueError(f"{name} is made of claims twice")
        try:
            mapping[name] = compile_claims(source)
        except CelError as error:
            place = (max(1, error.line), max(1, error.column))
            raise ValueError(str(at(name, source, *place, error.message, error.hint))) from None
    if "id" not in mapping:
        raise ValueError("has to make the principal's id at least, as in --claim id=claims.sub")
    return mapping


def _joined(pieces: Iterable[str]) -> list[str]:
    """Join each FIELD=CEL that was split at the spaces in it, as a variable is."""
    pairs: list[str] = []
    for piece in pieces:
        if pairs and not _PAIR_BEGINS.match(piece):
            pairs[-1] += f" {piece}"
        else:
            pairs.append(piece)
    return pairs


def caller_of(
    mapping: ClaimMapping, claims: Mapping[str, Any], until: float, expired: str
) -> Caller:
    """Return the caller that claims make.

    An expression may yield "" for what these claims do not prove, but for the id. Raises
    UnauthenticatedError, without a word of the claims.
    """
    proven = {}
    for name, expression in mapping.items():
        try:
            value = expression.text(claims)
        except EvaluationError:
            raise UnauthenticatedError(
                "PRINCIPAL_UNPROVEN", f"no {name} comes of the claims"
            ) from None
        if value == "" and name != "id":
            continue
        if not is_value(value):
            raise UnauthenticatedError("PRINCIPAL_UNPROVEN", f"what the claims make is no {name}")
        proven[name] = value
    return Caller(proven, owner=proven["id"], until=until, expired=expired)


class Remembered:
    """Callers whose proof was verified a moment ago, by the proof's hash."""

    def __init__(self, at_most: int = MAX_REMEMBERED) -> None:
        """Remember so many; the oldest go first."""
        self._callers: OrderedDict[bytes, tuple[float, float, Caller]] = OrderedDict()
        self._at_most = at_most

    def find(self, authenticator: bytes, now: float) -> tuple[bytes, Caller | None]:
        """Return the proof's hash, and the caller if it was verified a moment ago."""
        digest = hashlib.sha256(authenticator).digest()
        since, until, caller = self._callers.get(digest, (0.0, 0.0, None))
        # A clock that was set back gives nobody more time.
        return digest, caller if since <= now < until else None

    def keep(self, digest: bytes, caller: Caller, now: float, expires: float) -> None:
        """Remember a caller from now on, in seconds, never longer than its proof lasts."""
        self._callers[digest] = (now, min(expires, now + REMEMBERED_SECONDS), caller)
        if len(self._callers) > self._at_most:
            self._callers.popitem(last=False)
