"""The interface of a sink, the place where apps find a key's secret."""

from typing import Protocol

from sidecar.keys.secret import Secret


class SinkError(Exception):
    """The sink does not respond, or refuses. The text says what to do, without secrets."""


class Sink(Protocol):
    """Stores the secret of one key, and the previous one until `forget`.

    Every method may be repeated after a crash, and raises SinkError.
    """

    async def holds(self) -> str:
        """Return the digest of the secret that apps find; "" without one."""

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """Store a secret for apps to find, and keep the previous one."""

    async def restore(self) -> None:
        """Put the previous secret back for apps to find."""

    async def forget(self) -> None:
        """Delete the previous secret."""

    async def close(self) -> None:
        """Close connections."""
