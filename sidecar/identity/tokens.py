"""Bearer tokens: JWTs (RFC 7519) that somebody signed whose keys are known."""

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
from sidecar.identity.proofs import ClaimMapping, Remembered, caller_of

MAX_TOKEN_BYTES = 8192
LEEWAY_SECONDS = 30
"""How far the clocks of those who issue tokens may be from ours."""

ASYMMETRIC = frozenset().union(*ALGORITHMS.values())
"""All that can ever be allowed: with an HMAC, whoever verifies could also sign."""

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say."""

    issuer: str
    audience: str
    algorithms: frozenset[str]


class TokenVerifier:
    """Says who calls by the token they carry."""

    def __init__(
        self,
        jwks: Jwks,
        expected: Expected,
        mapping: ClaimMapping,
        pins: Pins,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Verify by these keys; the clock is in seconds since the epoch."""
        assert expected.algorithms <= ASYMMETRIC, "no HMAC, and never `none`"
        self._jwks = jwks
        self._expected = expected
        self._mapping = mapping
        self._pins = pins
        self._clock = clock
        self._remembered = Remembered()

    async def caller(self, presented: PresentedCredentials) -> Caller:
        """See Proof.caller."""
        token = _bearer(presented.authorization())
        now = self._clock()
        digest, caller = self._remembered.find(token.encode(), now)
        if caller is None:
            claims = await self._verify(token)
            expires = float(claims["exp"])
            until = expires + LEEWAY_SECONDS
            caller = pinned(caller_of(self._mapping, claims, until, "TOKEN_EXPIRED"), self._pins)
            self._remembered.keep(digest, caller, now, expires)
        return caller

    async def _verify(self, token: str) -> Mapping[str, Any]:
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._expected.algorithms:
            _refuse("is signed with an algorithm that is not allowed")
        kid = header.get("kid")
        if not isinstance(kid, str):
            _refuse("does not name its key (kid)")
        key = await self._jwks.key(kid)
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
        except Exception:  # a claim may be anything, such as a number that no float can hold
            _refuse("cannot be verified")
        return claims


def _bearer(headers: Sequence[str | bytes]) -> str:
    if not headers:
        raise UnauthenticatedError(
            "TOKEN_MISSING", "this sidecar asks for a token: send the metadata authorization"
        )
    (header, *others) = headers
    if others:  # whoever looks at them elsewhere may have looked at another
        _refuse("came with another: send one authorization")
    if not isinstance(header, str) or header[: len(_BEARER)].lower() != _BEARER:
        _refuse("is no bearer token: send authorization: Bearer …")
    token = header[len(_BEARER) :].strip()
    if not token.isascii() or len(token) > MAX_TOKEN_BYTES:
        _refuse(f"has more than {MAX_TOKEN_BYTES} bytes, or other than ASCII")
    return token


def _header(token: str) -> Mapping[str, Any]:
    """Read which key and algorithm the token says; PyJWT reads it again with all the rest.

    It would read all of it for this, too, which takes as long as to verify it.
    """
    part = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        _refuse("is no JWT")
    return header


def _refuse(problem: str) -> NoReturn:
    raise UnauthenticatedError("TOKEN_INVALID", f"the token {problem}") from None
