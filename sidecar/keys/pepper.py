"""What the ledger keeps of a secret: it knows it again, and gives nothing away."""

import hashlib
import hmac
from pathlib import Path

MIN_BYTES = 16
MAX_BYTES = 4096
MARK_DIGITS = 8

DIGEST_DIGITS = 64
"""What ledgers kept before there were peppers was the digest alone."""


class OtherPepperError(Exception):
    """A fingerprint was made with another pepper, so nobody can say whose it is."""


class Pepper:
    """A text that only the operator has, and that every sidecar of one ledger has to have."""

    def __init__(self, content: bytes) -> None:
        """Take the pepper as it is."""
        self._content = content
        self._prefix = f"hmac-sha256:{self._mac('the mark of this pepper')[:MARK_DIGITS]}:"

    def fingerprint(self, digest: str) -> str:
        """Return the fingerprint of the secret with this digest, or "" for no secret.

        It is `hmac-sha256:MARK:HEX`: HEX is the HMAC-SHA256 of the digest's 64 digits, MARK tells
        peppers apart.
        """
        return self._prefix + self._mac(digest) if digest else ""

    def is_of(self, fingerprint: str, digest: str) -> bool:
        """Whether the fingerprint is of the secret with this digest.

        Raises OtherPepperError where that cannot be known. Without a digest, or without a
        fingerprint, it is not.
        """
        if not (fingerprint and digest):
            return False
        if not self.knows(fingerprint):
            raise OtherPepperError
        ours = self.fingerprint(digest) if self.made(fingerprint) else digest
        return hmac.compare_digest(fingerprint, ours)

    def made(self, fingerprint: str) -> bool:
        """Whether the fingerprint was made with this pepper."""
        return fingerprint.startswith(self._prefix)

    def knows(self, fingerprint: str) -> bool:
        """Whether it can be said whose it is: made with this pepper, or before there were any."""
        return self.made(fingerprint) or len(fingerprint) == DIGEST_DIGITS

    def _mac(self, text: str) -> str:
        return hmac.new(self._content, text.encode(), hashlib.sha256).hexdigest()


def read_pepper(path: Path) -> Pepper:
    """Read a pepper: all of the file, without the white space around it.

    Raises ValueError, which says nothing of what is in the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1).strip()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not MIN_BYTES <= len(content) <= MAX_BYTES:
        raise ValueError(f"{path}: has to have {MIN_BYTES} to {MAX_BYTES} bytes")
    return Pepper(content)
