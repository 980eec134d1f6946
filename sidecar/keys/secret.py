"""A secret that no repr, log line or error shows."""

import hashlib
from pathlib import Path
from typing import NoReturn

MAX_BYTES = 4096
"""Bytes of a file that may be a secret; a longer one is something else."""


class Secret:
    """The text of a credential. Only `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the text. Raises ValueError for what no HTTP header can carry."""
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("is no credential: it is empty, or has white space or control codes")
        self._text = text

    def reveal(self) -> str:
        """Return the text, to send it or to store it where apps find it."""
        return self._text

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal, as `printf %s "$SECRET" | sha256sum` prints it.

        To compare with what a sink holds. It is written nowhere: a Pepper makes a fingerprint
        of it, for the ledger.
        """
        return hashlib.sha256(self._text.encode()).hexdigest()

    def __repr__(self) -> str:
        """Show that there is one."""
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        """Whether both are the same text."""
        return isinstance(other, Secret) and self.digest == other.digest

    def __hash__(self) -> int:
        """By the digest."""
        return hash(self.digest)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a secret is not written down")


def read_secret(path: Path) -> Secret:
    """Read a secret: all of the file, without the white space around it.

    Raises ValueError, which says nothing of what is in the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: is too long for a secret")
    try:
        return Secret(content.decode("ascii", "replace").strip())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
