"""Signatures of policy sets: Ed25519 over a set's digest and the time of signing."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sidecar.domain.clock import to_datetime, to_us

CONTEXT = "sidecar policy set, version 1"
"""A prefix of the signed message, so that other signatures by the key are not valid here."""

MAX_BYTES = 4096

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_FIELDS = {"key", "digest", "signed_at", "signature"}


class NotSignedError(Exception):
    """A set has no valid signature; the text says why."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A valid signature: the key's id, the set's digest, and the time in microseconds."""

    key_id: str
    digest: str
    signed_at_us: int


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a PEM file, as `openssl genpkey -algorithm ed25519` writes it. Raises ValueError."""
    content = _content(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    except TypeError:
        raise ValueError(f"{path}: is encrypted; decrypt it with `openssl pkey`") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError(f"{path}: is not a private Ed25519 key in PEM; {_MAKE}")


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a PEM file, as `openssl pkey -pubout` writes it. Raises ValueError."""
    content = _content(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError(
        f"{path}: is not a public Ed25519 key in PEM; `openssl pkey -pubout` writes one"
    )


_MAKE = "`openssl genpkey -algorithm ed25519` makes one"


def key_id(key: Ed25519PublicKey) -> str:
    """Return a key's id: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign(digest: str, key: Ed25519PrivateKey, at_us: int) -> str:
    """Return the content of a signature file."""
    signed_at = to_datetime(at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    signature = {
        "key": key_id(key.public_key()),
        "digest": digest,
        "signed_at": signed_at,
        "signature": base64.b64encode(key.sign(_message(digest, signed_at))).decode(),
    }
    return json.dumps(signature, indent=2) + "\n"


def verify(text: str, digest: str, keys: Sequence[Ed25519PublicKey]) -> Signature:
    """Verify a signature file against a digest and the trusted keys.

    Raises NotSignedError.
    """
    if not text:
        raise NotSignedError("the set is not signed")
    fields = _parse(text)
    key = {key_id(key): key for key in keys}.get(fields["key"])
    if key is None:
        raise NotSignedError("is signed with a key that is not trusted here")
    try:
        signature = base64.b64decode(fields["signature"], validate=True)
        key.verify(signature, _message(fields["digest"], fields["signed_at"]))
        signed_at_us = to_us(datetime.fromisoformat(fields["signed_at"]))
    except (InvalidSignature, ValueError):
        raise NotSignedError("does not match its digest and time") from None
    if fields["digest"] != digest:
        raise NotSignedError("is for another set: the files were changed after signing")
    return Signature(fields["key"], digest, signed_at_us)


def _message(digest: str, signed_at: str) -> bytes:
    return f"{CONTEXT}\n{digest}\n{signed_at}\n".encode()


def _parse(text: str) -> dict[str, str]:
    try:
        fields = json.loads(text) if len(text) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        fields = None
    if (
        not isinstance(fields, dict)
        or fields.keys() != _FIELDS
        or not all(isinstance(value, str) for value in fields.values())
        or not _TIME.fullmatch(fields["signed_at"])
    ):
        raise NotSignedError("is not a signature file of `sidecar sign`")
    return fields


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
