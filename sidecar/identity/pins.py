"""What the deployment itself knows of every caller."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sidecar.domain.bounds import MAX_ID_BYTES
from sidecar.identity.caller import FIELDS, Caller, PresentedCredentials

Pins = Mapping[str, str]
"""Values by the names of a principal's fields."""


def read_pins(pairs: Iterable[str]) -> Pins:
    """Read pins written as FIELD=VALUE. Raises ValueError, which says which is wrong."""
    pins: dict[str, str] = {}
    for pair in pairs:
        name, value = read_pair(pair, "workspace=prod-workspace")
        if name in pins:
            raise ValueError(f"{name} is pinned twice")
        if not is_value(value):
            raise ValueError(f"{name}: a value has 1 to {MAX_ID_BYTES} bytes that can be printed")
        pins[name] = value
    return pins


class PinnedAuthenticator:
    """Nobody proves anything: what is pinned is known of every caller."""

    def __init__(self, pins: Pins) -> None:
        """Know these."""
        self._caller = Caller(pins)

    async def caller(self, presented: PresentedCredentials) -> Caller:  # noqa: ARG002
        """See Proof.caller."""
        return self._caller


def pinned(caller: Caller, pins: Pins) -> Caller:
    """Return what is proven of a caller with the pins beside it.

    Where a proof says something else than a pin, every request is contradicted.
    """
    against = tuple(name for name, value in caller.proven.items() if pins.get(name, value) != value)
    return replace(caller, proven={**caller.proven, **pins}, contradicted=against)


def read_pair(pair: str, example: str) -> tuple[str, str]:
    """Split FIELD=VALUE. Raises ValueError where that names no field of a principal."""
    name, equals, value = pair.partition("=")
    if not equals or name not in FIELDS:
        raise ValueError(f"{pair}: has to be FIELD=…, as in {example}; FIELD is {_ANY_FIELD}")
    return name, value


def is_value(text: str) -> bool:
    """Whether a text may be a field of a principal, as the contract bounds it."""
    return bool(text.strip()) and text.isprintable() and len(text.encode()) <= MAX_ID_BYTES


_ANY_FIELD = f"{', '.join(FIELDS[:-1])} or {FIELDS[-1]}"
