"""Pins: values of the principal that the deployment sets for every caller."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sidecar.domain.bounds import MAX_ID_BYTES
from sidecar.domain.texts import is_visible
from sidecar.identity.caller import FIELDS, Caller, PresentedCredentials

Pins = Mapping[str, str]
"""Values by the principal's field."""


def read_pins(pairs: Iterable[str]) -> Pins:
    """Read pins given as FIELD=VALUE. Raises ValueError, which names the wrong one."""
    pins: dict[str, str] = {}
    for pair in pairs:
        name, value = read_pair(pair, "workspace=prod-workspace")
        if name in pins:
            raise ValueError(f"{name} is pinned twice")
        if not is_value(value):
            raise ValueError(f"{name}: a value must have 1 to {MAX_ID_BYTES} printable bytes")
        pins[name] = value
    return pins


class PinnedAuthenticator:
    """Takes every caller for the pinned principal, without a credential."""

    def __init__(self, pins: Pins) -> None:
        """Use these pins."""
        self._caller = Caller(pins)

    def problem(self) -> str:
        """See Authenticator.problem."""
        return ""

    async def caller(self, presented: PresentedCredentials) -> Caller:  # noqa: ARG002
        """See Authenticator.caller."""
        return self._caller


def pinned(caller: Caller, pins: Pins) -> Caller:
    """Return a caller with the pins added to what is proven.

    If a proof and a pin differ, every request of the caller is contradicted.
    """
    against = tuple(name for name, value in caller.proven.items() if pins.get(name, value) != value)
    return replace(caller, proven={**caller.proven, **pins}, contradicted=against)


def read_pair(pair: str, example: str) -> tuple[str, str]:
    """Split FIELD=VALUE. Raises ValueError if FIELD is not a field of a principal."""
    name, equals, value = pair.partition("=")
    if not equals or name not in FIELDS:
        raise ValueError(f"{pair}: must be FIELD=…, as in {example}; FIELD is {_ANY_FIELD}")
    return name, value


def is_value(text: str) -> bool:
    """Whether a text is valid for a field of a principal, by the contract's bounds."""
    return bool(text.strip()) and is_visible(text) and len(text.encode()) <= MAX_ID_BYTES


_ANY_FIELD = f"{', '.join(FIELDS[:-1])} or {FIELDS[-1]}"
