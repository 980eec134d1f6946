"""The pepper, and the fingerprints that the ledger stores to recognize a secret."""

import hashlib
import hmac
import logging
import os
import stat
from pathlib import Path

from sidecar.domain.texts import printable

log = logging.getLogger(__name__)

MIN_BYTES = 16
MAX_BYTES = 4096
MARK_DIGITS = 8

DIGEST_DIGITS = 64
"""The length of a plain digest, which older versions stored as the fingerprint."""


class OtherPepperError(Exception):
    """A fingerprint was made with another pepper, so it is unknown whether it is equal."""


class Pepper:
    """A secret of the operator's, the same for every sidecar of one ledger."""

    def __init__(self, content: bytes) -> None:
        """Use these bytes."""
        self._content = content
        self._prefix = f"hmac-sha256:{self._mac('the mark of this pepper')[:MARK_DIGITS]}:"

    def fingerprint(self, digest: str) -> str:
        """Return the fingerprint of the secret with this digest; "" for no secret.

        It is `hmac-sha256:MARK:HEX`: HEX is the HMAC-SHA256 of the digest's 64 digits, MARK
        identifies the pepper.
        """
        return self._prefix + self._mac(digest) if digest else ""

    def is_of(self, fingerprint: str, digest: str) -> bool:
        """Whether the fingerprint is of the secret with this digest.

        False without a digest or a fingerprint. Raises OtherPepperError.
        """
        if not (fingerprint and digest):
            return False
        if not self.can_compare(fingerprint):
            raise OtherPepperError
        ours = self.fingerprint(digest) if self.has_made(fingerprint) else digest
        return hmac.compare_digest(fingerprint, ours)

    def has_made(self, fingerprint: str) -> bool:
        """Whether the fingerprint was made with this pepper."""
        return fingerprint.startswith(self._prefix)

    def can_compare(self, fingerprint: str) -> bool:
        """Whether `is_of` can decide: made with this pepper, or a plain digest."""
        return self.has_made(fingerprint) or len(fingerprint) == DIGEST_DIGITS

    def _mac(self, text: str) -> str:
        return hmac.new(self._content, text.encode(), hashlib.sha256).hexdigest()


def read_pepper(path: Path) -> Pepper:
    """Read a pepper: the file's content without surrounding white space.

    A file that all users of the host can read is used, with a warning: Kubernetes mounts so.
    Raises ValueError, whose text has nothing of the content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1).strip()
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not MIN_BYTES <= len(content) <= MAX_BYTES:
        raise ValueError(f"{path}: must have {MIN_BYTES} to {MAX_BYTES} bytes")
    if mode & stat.S_IROTH:
        log.warning(
            "%s: every user of this host can read the pepper: chmod 600, or in Kubernetes"
            " defaultMode: 0400",
            printable(str(path)),
        )
    return Pepper(content)
