"""The JWKS: refreshed, cached, and bounded against its source."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from support.identities import Issuer, public_jwk

from sidecar.identity.caller import KeysUnavailableError
from sidecar.identity.jwks import FRESH_SECONDS, MAX_AGE_SECONDS, RETRY_SECONDS, Jwks, read_jwks

ISSUER = Issuer()


class KeySource:
    """A source of keys, with a clock that the test sets."""

    def __init__(self) -> None:
        """Start with the issuer's keys."""
        self.now = 0.0
        self.content: dict[str, Any] | None = ISSUER.jwks
        self.reads = 0
        self.jwks = Jwks(self._load, lambda: self.now)

    async def _load(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        if self.content is None:
            raise OSError(111, "Connection refused")
        return json.dumps(self.content).encode()

    async def has(self, kid: str) -> bool:
        """Return whether a key is known, and let background refreshes run."""
        found = await self.jwks.key(kid) is not None
        for _ in range(5):
            await asyncio.sleep(0)
        return found


def run(test: Callable[[KeySource], Awaitable[None]]) -> None:
    """Run a test."""

    async def whole() -> None:
        await test(KeySource())

    asyncio.run(whole())


def test_unknown_key_ids_reread_the_jwks_only_at_intervals() -> None:
    """A thousand tokens with made-up key ids cause one read."""

    async def test(source: KeySource) -> None:
        assert await source.has("kid-RS256")
        source.now += RETRY_SECONDS
        found = await asyncio.gather(*(source.has(f"made-up-{n}") for n in range(1000)))
        assert not any(found)
        assert source.reads == 2
        source.content = {"keys": [{**ISSUER.jwks["keys"][0], "kid": "new"}]}
        assert not await source.has("new")
        source.now += RETRY_SECONDS
        assert await source.has("new")
        assert not await source.has("kid-RS256")

    run(test)


def test_keys_are_read_again_when_they_are_no_longer_fresh() -> None:
    """Callers do not wait for the refresh; afterwards a withdrawn key is gone."""

    async def test(source: KeySource) -> None:
        assert await source.has("kid-RS256")
        source.content = {"keys": ISSUER.jwks["keys"][1:]}
        assert await source.has("kid-RS256")
        source.now += FRESH_SECONDS
        assert await source.has("kid-RS256")
        assert not await source.has("kid-RS256")

    run(test)


def test_the_last_keys_stay_valid_for_a_day_while_the_jwks_is_down() -> None:
    """Afterwards tokens cannot be verified, which is not the caller's fault."""

    async def test(source: KeySource) -> None:
        assert await source.has("kid-RS256")
        source.content = None
        source.now += MAX_AGE_SECONDS - 1
        assert await source.has("kid-RS256")
        with pytest.raises(KeysUnavailableError, match="Connection refused"):
            await source.has("made-up")
        source.now += RETRY_SECONDS
        with pytest.raises(KeysUnavailableError):
            await source.has("kid-RS256")
        source.content = ISSUER.jwks
        source.now += RETRY_SECONDS
        assert await source.has("kid-RS256")

    run(test)


SMALL = public_jwk(rsa.generate_private_key(65537, 1024), "small")  # noqa: S505 - it is refused
GOOD = ISSUER.jwks["keys"][0]


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"},
        {**GOOD, "alg": "HS256"},
        {**GOOD, "alg": "none"},
        {**GOOD, "use": "enc"},
        {**GOOD, "kid": 7},
        {**GOOD, "kid": ""},
        {name: value for name, value in GOOD.items() if name != "kid"},
        {**GOOD, "n": "!!"},
        {**GOOD, "n": None},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "a"},
        {"kty": ["RSA"], "kid": "a"},
        SMALL,
        "RSA",
        None,
    ],
    ids=[
        "secret", "HS256", "none", "for encryption", "kid a number", "kid empty", "no kid",
        "no number", "null", "no point", "kind a list", "small", "text", "nothing",
    ],
)  # fmt: skip
def test_only_keys_of_asymmetric_signatures_are_used(entry: Any) -> None:
    """Other keys of the set are used; a set without any is an error."""
    content = json.dumps({"keys": [entry, {**GOOD, "kid": "good"}]})
    assert list(read_jwks(content.encode())) == ["good"]
    with pytest.raises(ValueError, match="no signature key"):
        read_jwks(json.dumps({"keys": [entry]}).encode())


def test_a_key_verifies_only_its_declared_algorithm() -> None:
    """A key without a declared algorithm verifies those of its kind."""
    keys = read_jwks(json.dumps({"keys": [{**GOOD, "alg": "PS256"}]}).encode())
    assert [key.algorithms for key in keys.values()] == [{"PS256"}]
    unsaid = read_jwks(json.dumps(ISSUER.jwks).encode())
    assert unsaid["kid-ES256"].algorithms == {"ES256"}
    assert "ES256" not in unsaid["kid-RS256"].algorithms


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"{}", b"\xff", b'{"keys": {}}', b'{"keys": []}', b"[" * 100_000,
     json.dumps({"keys": [GOOD] * 101}).encode()],
    ids=lambda content: repr(content[:16]),
)  # fmt: skip
def test_an_invalid_jwks_is_refused(content: bytes) -> None:
    """No part of it is in the error."""
    with pytest.raises(ValueError, match=r"keys|no signature key"):
        read_jwks(content)
