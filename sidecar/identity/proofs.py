"""The mapping of claims to callers, and the cache of verified credentials."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.identity.caller import Caller, UnauthenticatedError
from sidecar.identity.pins import is_value, read_pair
from sidecar.policy.cel.claims import Claims, compile_claims
from sidecar.policy.cel.engine import CelError, EvaluationError
from sidecar.policy.files.problems import at

MAX_CACHED_CALLERS = 10_000
CACHE_SECONDS = 60.0
"""How long a verified credential is not verified again; a withdrawn key still works this long."""

_PAIR_BEGINS = re.compile(r"\w+=(?!=)")


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """The expressions over claims that prove a principal."""

    expressions: Mapping[str, Claims]
    """By the principal's field; the id is always there."""
    allows_unproven: bool = False
    """Whether a field whose expression yields "" is the app's own word; never the id."""


def read_mapping(pairs: Iterable[str], *, allows_unproven: bool = False) -> ClaimMapping:
    """Compile claims given as FIELD=CEL.

    Raises ValueError, which names the wrong one and the place in it.
    """
    mapping: dict[str, Claims] = {}
    for pair in _joined(pairs):
        name, source = read_pair(pair, "id=claims.sub")
        if name in mapping:
            raise ValueError(f"{name} is given twice")
        try:
            mapping[name] = compile_claims(source)
        except CelError as error:
            place = (max(1, error.line), max(1, error.column))
            raise ValueError(str(at(name, source, *place, error.message, error.hint))) from None
    if "id" not in mapping:
        raise ValueError("the principal's id is required, as in --claim id=claims.sub")
    return ClaimMapping(mapping, allows_unproven)


def _joined(pieces: Iterable[str]) -> list[str]:
    """Join each FIELD=CEL that was split at its spaces: the value of a variable is split there."""
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
    """Return the caller of the claims.

    An expression that yields no value, or "", proves nothing: the caller is refused. Where
    unproven fields are allowed, the app may say those for which it yields "". Raises
    UnauthenticatedError, whose text has nothing of the claims.
    """
    proven = {}
    for name, expression in mapping.expressions.items():
        try:
            value = expression.text(claims)
        except EvaluationError:
            raise UnauthenticatedError(
                "PRINCIPAL_UNPROVEN", f"the claims do not yield a {name}"
            ) from None
        if value == "" and name != "id" and mapping.allows_unproven:
            continue
        if not is_value(value):
            message = f"the claims do not yield a valid {name}"
            raise UnauthenticatedError("PRINCIPAL_UNPROVEN", message)
        proven[name] = value
    return Caller(proven, owner=proven["id"], until=until, expired=expired)


class CallerCache:
    """Callers whose credential was verified recently, by the credential's SHA-256."""

    def __init__(self, at_most: int = MAX_CACHED_CALLERS) -> None:
        """Cache at most this many; the oldest are dropped first."""
        self._callers: OrderedDict[bytes, tuple[float, float, Caller]] = OrderedDict()
        self._at_most = at_most

    def find(self, credential: bytes, now: float) -> tuple[bytes, Caller | None]:
        """Return the credential's hash, and its caller if that is cached."""
        digest = hashlib.sha256(credential).digest()
        since, until, caller = self._callers.get(digest, (0.0, 0.0, None))
        # A clock that was set back does not extend the time.
        return digest, caller if since <= now < until else None

    def add(self, digest: bytes, caller: Caller, now: float, expires: float) -> None:
        """Cache a caller, at most until its credential expires; times are in seconds."""
        self._callers[digest] = (now, min(expires, now + CACHE_SECONDS), caller)
        if len(self._callers) > self._at_most:
            self._callers.popitem(last=False)
