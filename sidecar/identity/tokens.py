"""Authentication by bearer tokens: JWTs (RFC 7519) signed with a key of the JWKS."""

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt

from sidecar.identity.caller import Caller, PresentedCredentials, UnauthenticatedError
from sidecar.identity.jwks import ALGORITHMS, Jwks
from sidecar.identity.pins import Pins, pinned
from sidecar.identity.proofs import CallerCache, ClaimMapping, caller_of

MAX_TOKEN_BYTES = 8192
LEEWAY_SECONDS = 30
"""The tolerated difference between the issuer's clock and this one."""

ASYMMETRIC = frozenset().union(*ALGORITHMS.values())
"""The algorithms that can be allowed. An HMAC cannot, as its verifier could also sign."""

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Expected:
    """The issuer, audience and algorithms that a token must have."""

    issuer: str
    audience: str
    algorithms: frozenset[str]


class TokenVerifier:
    """Authenticates callers by their bearer token."""

    def __init__(
        self,
        jwks: Jwks,
        expected: Expected,
        mapping: ClaimMapping,
        pins: Pins,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Verify with the keys of the JWKS; the clock is in seconds since the epoch."""
        assert expected.algorithms <= ASYMMETRIC, "no HMAC, and never `none`"
        self.jwks = jwks
        self._expected = expected
        self._mapping = mapping
        self._pins = pins
        self._clock = clock
        self._cache = CallerCache()

    def problem(self) -> str:
        """See Authenticator.problem."""
        return self.jwks.problem()

    async def caller(self, presented: PresentedCredentials) -> Caller:
        """See Authenticator.caller."""
        token = _bearer(presented.authorization())
        now = self._clock()
        digest, caller = self._cache.find(token.encode(), now)
        if caller is None:
            claims = await self._verify(token)
            expires = float(claims["exp"])
            until = expires + LEEWAY_SECONDS
            caller = pinned(caller_of(self._mapping, claims, until, "TOKEN_EXPIRED"), self._pins)
            self._cache.add(digest, caller, now, expires)
        return caller

    async def _verify(self, token: str) -> Mapping[str, Any]:
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._expected.algorithms:
            _refuse("is signed with an algorithm that is not allowed")
        kid = header.get("kid")
        if not isinstance(kid, str):
            _refuse("does not name its key (kid)")
        key = await self.jwks.key(kid)
        if key is None or algorithm not in key.algorithms:
            _refuse("is signed with a key that is not known")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                issuer=self._expected.issuer,
                audience=self._expected.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
            float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("TOKEN_EXPIRED", "the token has expired") from None
        except jwt.ImmatureSignatureError:
            raise UnauthenticatedError(
                "TOKEN_NOT_YET_VALID", "the token is not valid yet"
            ) from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError(
                "TOKEN_INVALID", "the token is for another audience"
            ) from None
        except jwt.InvalidIssuerError:
            raise UnauthenticatedError("TOKEN_INVALID", "the token is of another issuer") from None
        except Exception:  # a claim may be anything, such as a number too large for a float
            _refuse("cannot be verified")
        return claims


def _bearer(headers: Sequence[str | bytes]) -> str:
    if not headers:
        raise UnauthenticatedError(
            "TOKEN_MISSING", "this sidecar requires a token: send it as authorization metadata"
        )
    (header, *others) = headers
    if others:  # a proxy may have checked another one
        _refuse("is not the only one: send one authorization header")
    if not isinstance(header, str) or header[: len(_BEARER)].lower() != _BEARER:
        _refuse("is not a bearer token: send authorization: Bearer …")
    token = header[len(_BEARER) :].strip()
    if not token.isascii() or len(token) > MAX_TOKEN_BYTES:
        _refuse(f"is longer than {MAX_TOKEN_BYTES} bytes, or not ASCII")
    return token


def _header(token: str) -> Mapping[str, Any]:
    """Return a token's header, before verification.

    PyJWT would parse the whole token for that, which takes as long as to verify it.
    """
    part = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        _refuse("is not a JWT")
    return header


def _refuse(problem: str) -> NoReturn:
    raise UnauthenticatedError("TOKEN_INVALID", f"the token {problem}") from None
