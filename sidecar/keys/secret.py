"""Secrets that no repr, log line or error shows."""

import hashlib
from pathlib import Path
from typing import NoReturn

MAX_BYTES = 4096
"""The largest file that may be a secret."""


class Secret:
    """The text of a credential, which only `reveal` returns."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the text. Raises ValueError for a text that does not fit in an HTTP header."""
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("is not a credential: empty, or with white space or other characters")
        self._text = text

    def reveal(self) -> str:
        """Return the text, to send it or to store it in the sink."""
        return self._text

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal, as `printf %s "$SECRET" | sha256sum` prints it.

        For comparison with a sink. It is never stored: the ledger has the fingerprint that a
        Pepper makes of it.
        """
        return hashlib.sha256(self._text.encode()).hexdigest()

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Secret) and self.digest == other.digest

    def __hash__(self) -> int:
        """Hash the digest."""
        return hash(self.digest)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a secret cannot be pickled")


def read_secret(path: Path) -> Secret:
    """Read a secret: the file's content without surrounding white space.

    Raises ValueError, whose text has nothing of the content.
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
