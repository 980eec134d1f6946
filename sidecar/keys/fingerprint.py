"""What tells the secrets of keys apart and gives none away."""

import hashlib
import hmac
from pathlib import Path

from sidecar.keys.secret import Secret

PEPPER_BYTES_AT_LEAST = 16
PEPPER_BYTES_AT_MOST = 4096


def fingerprint(secret: Secret, pepper: bytes) -> str:
    """Return the HMAC-SHA256 of a secret in hexadecimal: without the pepper, nobody can try."""
    return hmac.new(pepper, secret.reveal().encode(), hashlib.sha256).hexdigest()


def read_pepper(path: Path) -> bytes:
    """Read a pepper: all of the file, without the white space around it. Raises ValueError."""
    try:
        with path.open("rb") as file:
            pepper = file.read(PEPPER_BYTES_AT_MOST + 1).strip()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not PEPPER_BYTES_AT_LEAST <= len(pepper) <= PEPPER_BYTES_AT_MOST:
        raise ValueError(
            f"{path}: has to have {PEPPER_BYTES_AT_LEAST} to {PEPPER_BYTES_AT_MOST} bytes"
        )
    return pepper
