"""Authenticated callers, and the binding of a request's principal to what is proven."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.domain.keys import KeyName

FIELDS = ("id", "role", "workspace", "key_id")
"""The fields of a principal that can be proven; labels cannot."""


class UnauthenticatedError(SidecarError):
    """The caller is not authenticated; `reason` says why, for programs."""

    code = ErrorCode.UNAUTHENTICATED

    def __init__(self, reason: str, message: str) -> None:
        """Keep the reason, such as TOKEN_EXPIRED, and the text, which contains no claim."""
        super().__init__(message)
        self.reason = reason


class KeysUnavailableError(SidecarError):
    """The keys that verify tokens are not available now; unlike with a wrong token, retry."""

    code, reason = ErrorCode.UNAVAILABLE, "JWKS_UNAVAILABLE"


class PrincipalMismatchError(SidecarError):
    """A request's principal differs from what is proven, in an RPC that has no decision.

    Authorize denies such a call instead.
    """

    code, reason = ErrorCode.PERMISSION_DENIED, "PRINCIPAL_CONTRADICTED"

    def __init__(self, fields: tuple[str, ...]) -> None:
        """Keep the names of the differing fields, never their values."""
        super().__init__(contradiction(fields))
        self.fields = fields
        self.field = f"principal.{fields[0]}"


def contradiction(fields: tuple[str, ...]) -> str:
    """Return a text that names the fields of a principal that differ from what is proven."""
    names = ", ".join(f"principal.{name}" for name in fields)
    return f"{names}: differs from what is proven of this caller; leave proven fields out"


class Binding(NamedTuple):
    """The result of binding a principal, as names of its fields."""

    contradicted: tuple[str, ...]
    asserted: list[str]
    """The fields that the app set and that are not proven."""


class PresentedCredentials(Protocol):
    """The credentials of a call: its headers and its connection's certificate."""

    def authorization(self) -> Sequence[str | bytes]:
        """Return every `authorization` header."""

    def certificate(self) -> bytes | None:
        """Return the connection's certificate in PEM, as verified by the listener."""


class Authenticator(Protocol):
    """Finds out who the caller is."""

    async def caller(self, presented: PresentedCredentials) -> "Caller":
        """Return the caller. Raises UnauthenticatedError or KeysUnavailableError."""

    def problem(self) -> str:
        """Return why no caller can be authenticated now; empty if callers can be."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, as far as its principal is proven."""

    proven: Mapping[str, str]
    """The proven values, by the principal's field."""
    contradicted: tuple[str, ...] = ()
    """Fields for which a proof and a pin differ."""
    owner: str = ""
    """The principal whose holds it may close; "" for all holds."""
    until: float = inf
    """When the proof expires, in seconds since the epoch."""
    expired: str = ""
    """The reason code after that."""
    _unproven: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the fields that are not proven, once for all requests."""
        unproven = (*(name for name in FIELDS if name not in self.proven), "labels")
        object.__setattr__(self, "_unproven", unproven)

    def bind(self, principal: pb.Principal) -> Binding:
        """Overwrite a request's principal with what is proven; return what that changed.

        An empty field is filled in; one that differs is contradicted. The app may add the
        version of a proven key, as no proof has it.
        """
        contradicted = self.contradicted
        for name, value in self.proven.items():
            sent = getattr(principal, name)
            if sent != value and not (name == "key_id" and _is_version(sent, value)):
                setattr(principal, name, value)
                if sent and name not in contradicted:
                    contradicted = (*contradicted, name)
        return Binding(contradicted, [name for name in self._unproven if getattr(principal, name)])

    def check_bound(self, principal: pb.Principal) -> list[str]:
        """Bind, and return the asserted fields; for RPCs whose response is not a decision.

        Raises PrincipalMismatchError.
        """
        contradicted, asserted = self.bind(principal)
        if contradicted:
            raise PrincipalMismatchError(contradicted)
        return asserted

    def check_consistent(self) -> None:
        """Raise PrincipalMismatchError if a proof and a pin differ."""
        if self.contradicted:
            raise PrincipalMismatchError(self.contradicted)

    def check_still_proven(self, now: float) -> None:
        """Raise UnauthenticatedError if the proof has expired at `now`, in seconds."""
        if now >= self.until:
            raise UnauthenticatedError(
                self.expired, "the caller's credential has expired; present a new one"
            )


def _is_version(sent: str, key: str) -> bool:
    name = KeyName.parse(sent)
    return name is not None and name.key == key
