"""Tokens that are changed in their header, claims, times, texts, signature or transport."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import grpc
from support.identities import AUDIENCE, ISSUER, Issuer, base64url, bearer, kubernetes_claims
from support.odd_texts import CONTROLS, SURROGATES, UNUSUAL
from support.sidecar_process import RunningSidecar, chat, stub, tester

from siege.attack import Fuzzer, Metadata
from siege.honest_caller import HONEST

ALGORITHMS = ("RS256", "ES256", "EdDSA")
DAY_SECONDS = 86_400
TIMEOUT_SECONDS = 30.0
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""What a token may get that proves nothing; the second for one that is too large."""


class Effect(Enum):
    """What a change does to a token that was valid."""

    HARMLESS = "it proves its subject"
    FATAL = "it proves nothing"
    UNCLEAR = "it proves exactly its subject, or nothing"


@dataclass
class Token:
    """A token that is being made."""

    algorithm: str
    header: dict[str, Any]
    claims: dict[str, Any]
    claims_text: str = ""
    """The JSON, if it is not that of `claims`."""
    finish: Callable[[str], str] = str
    """Changes the signed token."""
    send: Callable[[str], Metadata] = field(default=bearer)


class Change(NamedTuple):
    """A change of one part of a token; two of one part would undo each other."""

    effect: Effect
    part: str
    make: Callable[[Token, Random], object]


def _claim(effect: Effect, name: str, *values: Any) -> Change:
    """Return a change of a claim to one of these values; None removes it."""
    return Change(effect, name, lambda it, random: _put(it.claims, name, random.choice(values)))


def _header(effect: Effect, name: str, *values: Any) -> Change:
    return Change(effect, name, lambda it, random: _put(it.header, name, random.choice(values)))


def _put(part: dict[str, Any], name: str, value: Any) -> None:
    if callable(value):
        value = value()
    if value is None:
        part.pop(name, None)
    else:
        part[name] = value


def _from_now(*seconds: float) -> list[Callable[[], float]]:
    return [partial(lambda after: time.time() + after, after) for after in seconds]


def _nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _finish(effect: Effect, *changes: Callable[[str], str]) -> Change:
    return Change(
        effect, "finish", lambda it, random: setattr(it, "finish", random.choice(changes))
    )


def _send(effect: Effect, *ways: Callable[[str], Metadata]) -> Change:
    return Change(effect, "send", lambda it, random: setattr(it, "send", random.choice(ways)))


def _text(effect: Effect, change: Callable[[str], str]) -> Change:
    """Return a change of the claims' JSON, and with it of the subject."""
    return Change(
        effect, "sub", lambda it, _: setattr(it, "claims_text", change(json.dumps(it.claims)))
    )


def _flipped(token: str) -> str:
    """Return a token with another signature."""
    head, _, signature = token.rpartition(".")
    at = len(signature) // 2
    return f"{head}.{signature[:at]}{'A' if signature[at] != 'A' else 'B'}{signature[at + 1 :]}"


def _other_claims(token: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{base64url(json.dumps({**kubernetes_claims(), 'sub': 'other'}).encode())}.{signature}"


_CONTROLS = tuple(CONTROLS.values())
_ODD = (*UNUSUAL.values(), "x" * 257, "é" * 129, " ", "a" * 256, "*", "\u0430da")
_NOT_A_TIME: tuple[Any, ...] = (
    "soon",
    "",
    [1],
    {},
    None,
    float("inf"),
    float("-inf"),
    float("nan"),
    10**400,
)

CHANGES: list[Change] = [
    _claim(Effect.HARMLESS, "exp", *_from_now(60, 3600, 1e9)),
    _claim(Effect.HARMLESS, "nbf", None, *_from_now(-1, -1e6, 20)),
    _claim(Effect.HARMLESS, "aud", AUDIENCE, [AUDIENCE], ["other", AUDIENCE]),
    _claim(Effect.HARMLESS, "jti", None, "x", "é"),
    _claim(Effect.HARMLESS, "groups", [], ["a", "b"], [1, None, True], [["a"], {"b": 1.5}]),
    _claim(Effect.HARMLESS, "kubernetes.io", None, {}, "x", {"namespace": "é"}),
    _header(Effect.HARMLESS, "typ", None, "JWT", "at+jwt"),
    _claim(Effect.FATAL, "exp", *_NOT_A_TIME, *_from_now(-60, -1e9), 0, -1),
    _claim(Effect.FATAL, "nbf", "soon", *_from_now(100, 1e9)),
    _claim(Effect.FATAL, "aud", None, "other", [], ["other"], {AUDIENCE: 1}, 1, f"{AUDIENCE} "),
    _claim(Effect.FATAL, "iss", None, "other", [ISSUER], f"{ISSUER}/", ISSUER.upper(), 1),
    _claim(Effect.FATAL, "sub", None, "", 1, True, ["ada"], {"ada": 1}, *_CONTROLS),
    _claim(Effect.FATAL, "note", *_CONTROLS, SURROGATES["half a pair"], ["a", ["b\0"]], {"a\x1b": 1}),
    _header(Effect.FATAL, "alg", None, "none", "None", "nOnE", "HS256", "RS1", ["RS256"], 1, ""),
    _header(Effect.FATAL, "kid", None, "other", "", 7, "kid-HS256", "../kid-RS256", "kid-RS256\0"),
    _header(Effect.FATAL, "crit", ["b64"], ["exp"], []),
    _finish(Effect.FATAL,
        _flipped, _other_claims, lambda it: it[:-8], lambda it: it.rpartition(".")[0],
        lambda it: it.rpartition(".")[0] + ".", lambda it: f"{it}.{it}", lambda it: f".{it}",
        lambda it: it.replace(".", "..", 1), lambda it: it[len(it) // 2 :], lambda _: "",
    ),
    _send(Effect.FATAL,
        lambda it: (*bearer(it), *bearer(it)), lambda it: (("authorization", it),),
        lambda it: (("authorization", f"Basic {it}"),), lambda it: (("authorization", f"Bearer {it}, {it}"),),
        lambda it: (("x-authorization", f"Bearer {it}"),), lambda _: (),
    ),
    _send(Effect.UNCLEAR,
        lambda it: (("authorization", f"bearer  {it} "),), lambda it: (("authorization", f"BEARER {it}"),),
    ),
    _claim(Effect.UNCLEAR, "sub", *_ODD),
    _claim(Effect.UNCLEAR, "note", *_ODD, 2**70, 1e308, float("nan"), "x" * 5000),
    _claim(Effect.UNCLEAR, "note", *map(_nested, (5, 50, 500))),
    _claim(Effect.UNCLEAR, "exp", True, "99999999999", 2**63, 1e15),
    _claim(Effect.UNCLEAR, "iat", "x", None, *_from_now(-1e9, 1e9)),
    _text(Effect.UNCLEAR, lambda it: '{"sub": "ada", ' + it[1:]),
    _text(Effect.UNCLEAR, lambda it: it[:-1] + ', "sub": "eve"}'),
    _text(Effect.UNCLEAR, lambda it: f" {it} "),
    _text(Effect.FATAL, lambda it: f"[{it}]"),
    _text(Effect.FATAL, lambda it: it[:-1]),
    _text(Effect.FATAL, lambda it: it + it),
    _text(Effect.FATAL, lambda _: "[" * 3000),
]  # fmt: skip


def arguments(issuer: Issuer, folder: Path) -> tuple[str, ...]:
    """Write an issuer's keys; return the arguments of a sidecar that takes its tokens."""
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(issuer.jwks))
    return ("--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
            "--claim", "id=claims.sub", "--jwks", str(jwks))  # fmt: skip


def lasting(issuer: Issuer, subject: str) -> Metadata:
    """Return a token that proves a subject for a day."""
    return bearer(issuer.token(sub=subject, exp=int(time.time()) + DAY_SECONDS))


class Tokens(Fuzzer):
    """A token proves exactly its subject, or nothing."""

    name = "tokens"
    parameters = (
        f"{len(CHANGES)} kinds of changes to header, claims, times, texts, signature, metadata"
    )

    def __init__(self, folder: Path, policies: Path, random: Random) -> None:
        """Make an issuer, whose keys the sidecar reads from a file."""
        super().__init__(folder, policies, random)
        self._issuer = Issuer()
        self.arguments = arguments(self._issuer, folder)
        self.credentials = lasting(self._issuer, HONEST)

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Send a token with up to three changes."""
        calls = stub(sidecar.addresses[0])
        request = chat(tester(id=""), model="small-1", dry_run=True)
        while True:
            changes = self._changes()
            token = self._token(changes)
            sent = self._signed(token)
            effects = {change.effect for change in changes}
            call = calls.Authorize.future(
                request, metadata=token.send(sent), timeout=TIMEOUT_SECONDS
            )
            if call.code() is grpc.StatusCode.OK:
                assert Effect.FATAL not in effects, (token, call.result())
                subject = json.loads(token.claims_text or json.dumps(token.claims))["sub"]
                proven = {budget.scope for budget in call.result().budgets}
                assert proven == {subject}, (token, call.result())
            else:
                assert call.code() in REFUSED, (token, call.code(), call.details())
                assert effects - {Effect.HARMLESS}, (token, call.details())
            yield

    def _changes(self) -> list[Change]:
        """Draw changes of different parts; the JSON is changed after the claims."""
        drawn = self.random.sample(CHANGES, self.random.choice((0, 1, 1, 1, 2, 3)))
        by_part = {change.part: change for change in drawn}
        return sorted(by_part.values(), key=CHANGES.index)

    def _token(self, changes: list[Change]) -> Token:
        algorithm = self.random.choice(ALGORITHMS)
        header = {"alg": algorithm, "kid": f"kid-{algorithm}"}
        claims = {**kubernetes_claims(), "sub": f"eve-{self.random.randrange(10)}"}
        token = Token(algorithm, header, claims)
        for change in changes:
            change.make(token, self.random)
        return token

    def _signed(self, token: Token) -> str:
        claims = token.claims_text or json.dumps(token.claims)
        return token.finish(self._issuer.sign(token.algorithm, json.dumps(token.header), claims))
