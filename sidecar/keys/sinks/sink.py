"""What a sink is: the one place from which apps take the secret of a key."""

from typing import Protocol

from sidecar.keys.secret import Secret


class SinkError(Exception):
    """The sink does not answer, or refuses. The text says what to do, and has no secret."""


class Sink(Protocol):
    """Keeps the secret of one key, and the one before it until that is forgotten.

    Every method may be repeated after a crash, and raises SinkError.
    """

    async def holds(self) -> str:
        """Return the digest of the secret that apps find, "" if there is none."""

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """Let apps find this secret, and keep the one that they found before."""

    async def restore(self) -> None:
        """Let apps find the one before again."""

    async def forget(self) -> None:
        """Forget the one before."""

    async def close(self) -> None:
        """Let go of what is open."""
