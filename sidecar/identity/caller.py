"""What is known of who calls, whatever its requests say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.domain.errors import ErrorCode, SidecarError
from sidecar.domain.keys import KeyName

FIELDS = ("id", "role", "workspace", "key_id")
"""The fields of a principal that can be proven; labels never are."""


class UnauthenticatedError(SidecarError):
    """The caller does not prove who it is."""

    code = ErrorCode.UNAUTHENTICATED

    def __init__(self, reason: str, message: str) -> None:
        """Keep the reason, as in TOKEN_EXPIRED, and the text for people."""
        super().__init__(message)
        self.reason = reason


class KeysUnavailableError(SidecarError):
    """A token cannot be verified now: its issuer's keys are not available."""

    code, reason = ErrorCode.UNAVAILABLE, "JWKS_UNAVAILABLE"


class PrincipalMismatchError(SidecarError):
    """A request names another principal than is proven."""

    code, reason = ErrorCode.PERMISSION_DENIED, "PRINCIPAL_CONTRADICTED"

    def __init__(self, fields: tuple[str, ...]) -> None:
        """Keep the names of the principal's fields, never what they say."""
        super().__init__(contradiction(fields))
        self.fields = fields
        self.field = f"principal.{fields[0]}"


def contradiction(fields: tuple[str, ...]) -> str:
    """Say which fields of a principal are not what is proven."""
    names = ", ".join(f"principal.{name}" for name in fields)
    return f"{names}: not what is proven of this caller; leave out what is proven"


class Binding(NamedTuple):
    """What binding did to a principal, by the names of its fields."""

    contradicted: tuple[str, ...]
    asserted: list[str]
    """What is said of the principal, and is the app's word alone."""


class PresentedCredentials(Protocol):
    """What a call came with that may prove who calls."""

    def authorization(self) -> Sequence[str | bytes]:
        """Return every `authorization` header."""

    def certificate(self) -> bytes | None:
        """Return the certificate of the connection in PEM; whoever accepted it verified it."""


class Authenticator(Protocol):
    """A way to tell who calls."""

    async def caller(self, presented: PresentedCredentials) -> "Caller":
        """Return who calls. Raises UnauthenticatedError, or KeysUnavailableError."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as that is proven."""

    proven: Mapping[str, str]
    """What is proven, by the names of the principal's fields."""
    contradicted: tuple[str, ...] = ()
    """Fields of which two proofs say different things."""
    owner: str = ""
    """The principal whose holds it may close; empty is anybody's."""
    until: float = inf
    """When the proof ends, in seconds since the epoch."""
    expired: str = ""
    """The reason to give when it has ended."""
    _unproven: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Work out what is not proven: it is asked of every request."""
        unproven = (*(name for name in FIELDS if name not in self.proven), "labels")
        object.__setattr__(self, "_unproven", unproven)

    def bind(self, principal: pb.Principal) -> Binding:
        """Write what is proven over what a request says, and tell what that changed.

        An empty field is filled; one that says something else is contradicted. Which
        version of a key it is, an app may say: nobody else knows.
        """
        contradicted = self.contradicted
        for name, value in self.proven.items():
            said = getattr(principal, name)
            if said != value and not (name == "key_id" and _is_version(said, value)):
                setattr(principal, name, value)
                if said and name not in contradicted:
                    contradicted = (*contradicted, name)
        return Binding(contradicted, [name for name in self._unproven if getattr(principal, name)])

    def check_bound(self, principal: pb.Principal) -> list[str]:
        """Bind, and return what is asserted.

        Raises PrincipalMismatchError, for an answer that could not be a Deny.
        """
        contradicted, asserted = self.bind(principal)
        if contradicted:
            raise PrincipalMismatchError(contradicted)
        return asserted

    def check_consistent(self) -> None:
        """Raise PrincipalMismatchError where the proofs contradict each other."""
        if self.contradicted:
            raise PrincipalMismatchError(self.contradicted)

    def check_still_proven(self, now: float) -> None:
        """Raise UnauthenticatedError where the proof has ended; `now` is in seconds."""
        if now >= self.until:
            raise UnauthenticatedError(
                self.expired, "the proof of who calls has expired; show a new one"
            )


def _is_version(said: str, key: str) -> bool:
    name = KeyName.parse(said)
    return name is not None and name.key == key
