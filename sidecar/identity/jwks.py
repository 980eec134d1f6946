"""The JWKS with the public keys that verify tokens, read from a file or URL and refreshed.

Each key is checked: only asymmetric signature keys are used, so that no public key can serve
as the secret of an HMAC.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwt import PyJWK, PyJWTError

from sidecar.identity.caller import KeysUnavailableError
from sidecar.web.client import Client, NoResponseError

log = logging.getLogger(__name__)

MAX_JWKS_BYTES = 262_144
MAX_KEYS = 100
MAX_KID_BYTES = 256
MIN_RSA_BITS = 2048
TIMEOUT_SECONDS = 5.0
FRESH_SECONDS = 300.0
"""The age at which keys are read again in the background."""
RETRY_SECONDS = 10.0
"""The least time between two attempts to read them."""
MAX_AGE_SECONDS = 86_400.0
"""The age up to which keys are used while they cannot be read again."""

ALGORITHMS: Mapping[tuple[str, str], frozenset[str]] = {
    ("RSA", ""): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
"""The signature algorithms of each kind of key, by kty and crv (RFC 7517, 7518 and 8037)."""

Load = Callable[[], Awaitable[bytes]]
"""Reads the current JWKS. Raises NoResponseError, OSError or ValueError."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms that it may verify."""

    public: Any
    algorithms: frozenset[str]


def read_jwks(content: bytes) -> dict[str, Key]:
    """Return the usable keys by kid. Raises ValueError, whose text has nothing of the content."""
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("no JSON object with `keys`") from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"`keys` is not a list of at most {MAX_KEYS}")
    keys = {}
    for entry in entries:
        key = _read_key(entry) if isinstance(entry, dict) else None
        kid = entry.get("kid") if key else None
        if key is not None and isinstance(kid, str) and 0 < len(kid) <= MAX_KID_BYTES:
            keys[kid] = key
    if not keys:
        raise ValueError("no signature key with a kid and of a supported kind")
    return keys


def _read_key(entry: dict[str, Any]) -> Key | None:
    kind = (str(entry.get("kty")), "" if entry.get("kty") == "RSA" else str(entry.get("crv")))
    algorithms = ALGORITHMS.get(kind, frozenset())
    if "alg" in entry:
        algorithms &= {str(entry["alg"])}
    if not algorithms or entry.get("use", "sig") != "sig":
        return None
    try:
        public = PyJWK(
            {name: entry[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in entry},
            algorithm=min(algorithms),
        ).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kind[0] == "RSA" and public.key_size < MIN_RSA_BITS:
        return None
    return Key(public, algorithms)


class Jwks:
    """The keys of one JWKS. Belongs to one event loop."""

    def __init__(
        self,
        load: Load,
        clock: Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Read with `load`, later; the clock is in seconds."""
        self._load = load
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._keys: dict[str, Key] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._failing = ""
        self._reading: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> Key | None:
        """Return the key with this kid, None without one.

        A known key is returned at once, up to MAX_AGE_SECONDS old. An unknown kid waits for an
        attempt to read the JWKS, of which there is at most one in `retry_seconds`.
        Raises KeysUnavailableError when the JWKS cannot be read.
        """
        age = self.age_seconds
        if age >= FRESH_SECONDS:
            self._start_reading()
        key = self._keys.get(kid) if age < MAX_AGE_SECONDS else None
        if key is not None:
            return key
        await self.read()
        if self._failing:
            raise KeysUnavailableError(self._failing)
        return self._keys.get(kid)

    @property
    def age_seconds(self) -> float:
        """The time since the keys were read; infinite if they never were."""
        return self._clock() - self._read_at

    def problem(self) -> str:
        """Return why no token can be verified now; empty if tokens can be.

        Keys that are old are read again in the background: without a call, nothing else does.
        """
        if self.age_seconds >= FRESH_SECONDS:
            self._start_reading()
        if self.age_seconds < MAX_AGE_SECONDS:
            return ""
        return self._failing or "the JWKS has not been read yet"

    async def read(self) -> None:
        """Read the keys, unless the last attempt is too recent; errors are logged."""
        self._start_reading()
        if self._reading is not None:
            await asyncio.shield(self._reading)  # other callers wait for it, too

    def _start_reading(self) -> None:
        if self._reading is None and self._clock() - self._tried_at >= self._retry_seconds:
            self._tried_at = self._clock()
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            self._keys = read_jwks(await self._load())
            self._read_at = self._clock()
            failing = ""
        except (NoResponseError, OSError, ValueError) as error:
            failing = f"the JWKS cannot be read: {_text(error)}"
        finally:
            self._reading = None
        if failing and failing != self._failing:
            known = self.age_seconds < MAX_AGE_SECONDS
            meanwhile = "the last known keys are used for a day" if known else "no token is valid"
            log.warning("%s; until then, %s", failing, meanwhile)
        elif self._failing and not failing:
            log.info("the JWKS can be read again")
        self._failing = failing


def from_file(path: Path) -> Load:
    """Return a Load that reads a file."""

    async def load() -> bytes:
        return await asyncio.to_thread(read_bounded, path)

    return load


def from_url(client: Client, token_file: Path | None) -> Load:
    """Return a Load that reads a URL, with the bearer token that is then in the file, if any."""

    async def load() -> bytes:
        headers = {}
        if token_file is not None:
            token = await asyncio.to_thread(token_file.read_text)
            headers["Authorization"] = f"Bearer {token.strip()}"
        return await client.get(MAX_JWKS_BYTES, headers)

    return load


def read_bounded(path: Path) -> bytes:
    """Read the file of a JWKS. Raises OSError, or ValueError if it is too large."""
    with path.open("rb") as file:
        content = file.read(MAX_JWKS_BYTES + 1)
    if len(content) > MAX_JWKS_BYTES:
        raise ValueError(f"more than {MAX_JWKS_BYTES} bytes")
    return content


def _text(error: Exception) -> str:
    return (error.strerror or "no answer") if isinstance(error, OSError) else str(error)
