"""Authentication by tokens: valid and forged ones."""

import hashlib
import hmac
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from mistral_spend.v1 import authorization_pb2 as pb
from support.http2_frames import UnfinishedCalls
from support.identities import (
    AUDIENCE,
    ISSUER,
    SUBJECT,
    Authority,
    Issuer,
    base64url,
    bearer,
    encoded,
    jwks_server,
    kubernetes_claims,
    public_jwk,
    secure_stub,
    write_pair,
)
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

from sidecar.identity.settings import DENIAL_BURST
from sidecar.identity.tokens import MAX_TOKEN_BYTES
from sidecar.server.listener import MAX_REQUEST_BYTES, WINDOW_BYTES
from sidecar.server.service import MAX_STREAMS_OF_CALLER

Start = Callable[..., RunningSidecar]

KEYS = Issuer()
NULL_RECORDERS = pb.Principal(role="tester")  # the rest is proven
ARGS = (
    "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
    "--claim", "id=claims.sub",
    "--claim", 'workspace=claims["kubernetes.io"].namespace == "dev-workspace" ? "lab" : ""',
)  # fmt: skip
CALLS: list[tuple[str, Any]] = [
    ("Authorize", chat(NULL_RECORDERS, model="small-1")),
    ("Settle", pb.SettleRequest(hold_id="h")),
    ("Release", pb.ReleaseRequest(hold_id="h")),
    ("GetBudgets", pb.GetBudgetsRequest(principal=NULL_RECORDERS)),
    ("Explain", pb.ExplainRequest(request=chat(NULL_RECORDERS, model="small-1"))),
]


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One sidecar that takes the tokens of one issuer, whose keys are in a file."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "jwks.json").write_text(json.dumps(KEYS.jwks))
    args = (*ARGS, "--jwks", str(folder / "jwks.json"))
    one = RunningSidecar(minimal(folder / "p"), folder / "ledger.sqlite", args).start()
    yield one
    assert one.stop() == 0
    for line in one.log.splitlines():
        assert "eyJ" not in line
        assert SUBJECT not in line


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Return status and reason of a failed call; check that the error does not show the caller."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    for text in (str(caught.value), str(error_info(caught.value))):
        assert "eyJ" not in text
        assert SUBJECT not in text
    return caught.value.code(), error_info(caught.value).reason


def unauthenticated(sidecar: RunningSidecar, *metadata: tuple[str, str]) -> str:
    """Return the reason for which a call with this metadata is refused."""
    code, reason = refusal(
        lambda: sidecar.stub.Authorize(chat(NULL_RECORDERS, model="small-1"), metadata=metadata)
    )
    assert code is grpc.StatusCode.UNAUTHENTICATED
    return reason


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_service_account_token_authenticates_its_caller(
    algorithm: str, sidecar: RunningSidecar
) -> None:
    """A projected token of a Kubernetes service account; the app sends only its role."""
    metadata = bearer(KEYS.token(algorithm))
    for _ in range(2):  # verified, and remembered
        answer = sidecar.stub.Authorize(chat(NULL_RECORDERS, model="small-1"), metadata=metadata)
        assert (answer.effect, list(answer.asserted)) == (pb.EFFECT_ALLOW, ["role"])
    (streamed,) = sidecar.stub.AuthorizeStream(
        iter([chat(NULL_RECORDERS, model="small-1", request_id=f"s-{algorithm}")]),
        metadata=metadata,
    )
    assert list(streamed.asserted) == ["role"]
    assert sidecar.stub.Settle(pb.SettleRequest(hold_id=answer.hold_id), metadata=metadata)
    found = sidecar.stub.Explain(
        pb.ExplainRequest(request=chat(NULL_RECORDERS, model="small-1")), metadata=metadata
    )
    assert list(found.decision.asserted) == ["role"]


@pytest.mark.parametrize(("rpc", "request_"), CALLS)
def test_every_rpc_requires_a_token(rpc: str, request_: Any, sidecar: RunningSidecar) -> None:
    """Only health is open to all callers."""
    missing = refusal(lambda: getattr(sidecar.stub, rpc)(request_))
    assert missing == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    stream = refusal(lambda: list(sidecar.stub.AuthorizeStream(iter([]))))
    assert stream == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def _unsigned(header: dict[str, Any]) -> str:
    return f"{encoded(header)}.{encoded(kubernetes_claims())}"


def _hmac_by_public_key() -> str:
    signed = _unsigned({"alg": "HS256", "kid": "kid-RS256"})
    mac = hmac.new(KEYS.public_pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(mac)}"


NOW = int(time.time())
GOOD = KEYS.token()
FORGED = {
    "signature of another token": f"{GOOD.rpartition('.')[0]}.{KEYS.token(jti='x').rpartition('.')[2]}",
    "claims of another token": ".".join(
        [GOOD.split(".")[0], KEYS.token(sub="system:admin").split(".")[1], GOOD.split(".")[2]]
    ),
    "signed by another issuer": Issuer().token(),
    "alg none": f"{_unsigned({'alg': 'none', 'kid': 'kid-RS256'})}.",
    "alg None": f"{_unsigned({'alg': 'None', 'kid': 'kid-RS256'})}.",
    "no alg": f"{_unsigned({'kid': 'kid-RS256'})}.",
    "alg that is a list": f"{_unsigned({'alg': ['RS256'], 'kid': 'kid-RS256'})}.e30",
    "HS256 signed with the public key": _hmac_by_public_key(),
    "algorithm that is not allowed": KEYS.token(headers={"alg": "RS512"}),
    "algorithm of another key": KEYS.token("ES256", {"kid": "kid-RS256"}),
    "unknown key": KEYS.token(headers={"kid": "made-up"}),
    "no key id": KEYS.token(headers={"kid": None}),
    "key id that is a number": f"{_unsigned({'alg': 'RS256', 'kid': 7})}.e30",
    "its own key": KEYS.token(headers={"kid": "mine", "jwk": public_jwk(KEYS.keys["RS256"], "mine")}),
    "critical extension": KEYS.token(headers={"crit": ["b64"], "b64": False}),
    "wrong audience": KEYS.token(aud=["another"]),
    "no audience": KEYS.token(aud=None),
    "wrong issuer": KEYS.token(iss="https://evil.example.com"),
    "no issuer": KEYS.token(iss=None),
    "issuer that is a list": KEYS.token(iss=[ISSUER]),
    "no expiry": KEYS.token(exp=None),
    "expiry that is no number": KEYS.token(exp="soon"),
    "endless expiry": KEYS.token(exp=float("inf")),
    "expiry too large for a float": KEYS.token(exp=10**400),
    "huge": KEYS.token(padding="x" * MAX_TOKEN_BYTES),
    "no JWT": "hunter2",
    "empty": "",
    "dots": "..",
    "nested": f"{encoded({'alg': 'RS256'})}.{'[' * 4000}.e30",
}  # fmt: skip


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
def test_a_token_that_is_forged_proves_nothing(token: str, sidecar: RunningSidecar) -> None:
    """For every kind of forgery."""
    assert unauthenticated(sidecar, *bearer(token)) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW - 120}, "TOKEN_EXPIRED"),
        ({"exp": 0}, "TOKEN_EXPIRED"),
        ({"nbf": NOW + 3000}, "TOKEN_NOT_YET_VALID"),
        ({"sub": None}, "PRINCIPAL_UNPROVEN"),
        ({"sub": ""}, "PRINCIPAL_UNPROVEN"),
        ({"sub": " "}, "PRINCIPAL_UNPROVEN"),
        ({"sub": "a\nb"}, "PRINCIPAL_UNPROVEN"),
        ({"sub": "é" * 129}, "PRINCIPAL_UNPROVEN"),
        ({"kubernetes.io": None}, "PRINCIPAL_UNPROVEN"),
        ({"kubernetes.io": "dev-workspace"}, "PRINCIPAL_UNPROVEN"),
        ({"n": 2**70}, "PRINCIPAL_UNPROVEN"),
        ({"groups": ["ml", "ada\x1b"]}, "PRINCIPAL_UNPROVEN"),
        ({"of": {"a\0": 1}}, "PRINCIPAL_UNPROVEN"),
        ({"sub": f"{SUBJECT}\0evil"}, "PRINCIPAL_UNPROVEN"),
        ({"note": "\ud800"}, "PRINCIPAL_UNPROVEN"),
    ],
)
def test_a_token_that_is_not_valid_now_or_has_no_subject_is_refused(
    changes: dict[str, Any], expected: str, sidecar: RunningSidecar
) -> None:
    """Although its signature is valid."""
    assert unauthenticated(sidecar, *bearer(KEYS.token(**changes))) == expected


@pytest.mark.parametrize(
    "metadata",
    [
        (*bearer(GOOD), *bearer(GOOD)),
        (*bearer(GOOD), ("authorization", "Bearer other")),
        (("authorization", f"Bearer {GOOD}, Bearer {GOOD}"),),
        (("authorization", f"Basic {GOOD}"),),
        (("authorization", GOOD),),
        (("authorization", ""),),
    ],
    ids=["twice", "two", "in one", "basic", "bare", "empty"],
)
def test_exactly_one_authorization_header_is_accepted(
    metadata: Any, sidecar: RunningSidecar
) -> None:
    """Another reader of the second one could see another caller."""
    assert unauthenticated(sidecar, *metadata) == "TOKEN_INVALID"


def test_a_request_that_contradicts_its_token_is_denied(sidecar: RunningSidecar) -> None:
    """A normal Deny, recorded for the proven caller; other RPCs are refused."""
    metadata = bearer(KEYS.token())
    for who in (tester(id="mallory"), tester(id=SUBJECT, workspace="other")):
        answer = sidecar.stub.Authorize(chat(who, model="small-1"), metadata=metadata)
        (reason,) = answer.reasons
        assert (reason.code, reason.http_status) == ("PRINCIPAL_CONTRADICTED", 403)
        assert (answer.effect, answer.hold_id) == (pb.EFFECT_DENY, "")
        assert SUBJECT not in str(answer)
        for call in (
            lambda who=who: sidecar.stub.GetBudgets(
                pb.GetBudgetsRequest(principal=who), metadata=metadata
            ),
            lambda who=who: sidecar.stub.Explain(
                pb.ExplainRequest(request=chat(who, model="small-1")), metadata=metadata
            ),
        ):
            assert refusal(call) == (grpc.StatusCode.PERMISSION_DENIED, "PRINCIPAL_CONTRADICTED")


def test_a_caller_gets_no_response_and_closes_no_hold_of_another(sidecar: RunningSidecar) -> None:
    """L3: an id that another has used is free, gives no access, and shows nothing."""
    ada, eve = bearer(KEYS.token(sub="ada")), bearer(KEYS.token(sub="eve"))
    request = chat(tester(id="ada"), model="small-1", request_id="adas")
    held = sidecar.stub.Authorize(request, metadata=ada)
    assert held.hold_id
    answer = sidecar.stub.Authorize(request, metadata=eve)
    assert (answer.effect, answer.replayed) == (pb.EFFECT_DENY, False)
    own = chat(NULL_RECORDERS, model="small-1", request_id="adas")
    used = refusal(lambda: sidecar.stub.Authorize(own, metadata=eve))
    own = chat(NULL_RECORDERS, model="small-1", request_id="eves")
    assert sidecar.stub.Authorize(own, metadata=eve).hold_id
    lie = chat(tester(id="ada"), model="small-1", request_id="eves")
    reused = (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert used == refusal(lambda: sidecar.stub.Authorize(lie, metadata=eve)) == reused
    for hold in (held.hold_id, "hold_of_nobody"):
        settle, release = pb.SettleRequest(hold_id=hold), pb.ReleaseRequest(hold_id=hold)
        for call in (
            lambda settle=settle: sidecar.stub.Settle(settle, metadata=eve),
            lambda release=release: sidecar.stub.Release(release, metadata=eve),
        ):
            assert refusal(call) == (grpc.StatusCode.NOT_FOUND, "HOLD_UNKNOWN")
    assert sidecar.stub.Release(pb.ReleaseRequest(hold_id=held.hold_id), metadata=ada)


def test_a_caller_that_is_always_denied_does_not_fill_the_disk(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Beyond a burst its denials are refused unrecorded; allowed calls, and others, go on."""
    (tmp_path / "jwks.json").write_text(json.dumps(KEYS.jwks))
    args = (*ARGS, "--jwks", str(tmp_path / "jwks.json"), "--max-denial-rate", "0.001")
    own = start_sidecar(minimal(tmp_path / "p"), *args)
    ada, eve = bearer(KEYS.token(sub="ada")), bearer(KEYS.token(sub="eve"))
    denied, allowed = (chat(NULL_RECORDERS, model=name) for name in ("unknown", "small-1"))
    for _ in range(DENIAL_BURST):
        assert own.stub.Authorize(allowed, metadata=eve).hold_id  # not counted
        assert own.stub.Authorize(denied, metadata=eve).effect == pb.EFFECT_DENY
    lie = chat(tester(id="ada"), model="small-1")
    for request in (denied, lie, denied):
        refused = refusal(partial(own.stub.Authorize, request, metadata=eve))
        assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_DENIALS")
    hold_id = own.stub.Authorize(allowed, metadata=eve).hold_id
    assert own.stub.Settle(pb.SettleRequest(hold_id=hold_id), metadata=eve)
    assert own.stub.Authorize(denied, metadata=ada).effect == pb.EFFECT_DENY
    assert own.stop() == 0
    with closing(sqlite3.connect(own.ledger)) as ledger:
        (recorded,) = ledger.execute("SELECT count(*) FROM denials").fetchone()
    assert recorded == DENIAL_BURST + 1


def test_a_repeat_is_answered_whatever_the_rate_of_denials(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L3: its own hold has taken the last room, so as a new call it would be denied."""
    (tmp_path / "jwks.json").write_text(json.dumps(KEYS.jwks))
    args = (*ARGS, "--jwks", str(tmp_path / "jwks.json"), "--max-denial-rate", "0.001")
    own = start_sidecar(minimal(tmp_path / "p", one=limit("1", meter="requests")), *args)
    eve = bearer(KEYS.token(sub="eve"))
    once = chat(NULL_RECORDERS, model="small-1", request_id="once")
    allowed = own.stub.Authorize(once, metadata=eve)
    for _ in range(DENIAL_BURST):
        denied = own.stub.Authorize(chat(NULL_RECORDERS, model="small-1"), metadata=eve)
        assert denied.effect == pb.EFFECT_DENY
    new = chat(NULL_RECORDERS, model="small-1", request_id="new")
    refused = refusal(partial(own.stub.Authorize, new, metadata=eve))
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_DENIALS")
    again = own.stub.Authorize(once, metadata=eve)
    assert (again.hold_id, again.replayed) == (allowed.hold_id, True)
    other = chat(NULL_RECORDERS, model="unknown", request_id="once")
    assert refusal(partial(own.stub.Authorize, other, metadata=eve)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )


def test_a_stream_does_not_outlive_its_token(sidecar: RunningSidecar) -> None:
    """It ends at the first request after that, and names it."""
    metadata = bearer(KEYS.token(exp=int(time.time()) - 27))  # three seconds of leeway are left
    waited = threading.Event()

    def requests() -> Iterator[pb.AuthorizeRequest]:
        yield chat(NULL_RECORDERS, model="small-1", request_id="in-time")
        waited.wait(4)
        yield chat(NULL_RECORDERS, model="small-1", request_id="too-late")

    stream = sidecar.stub.AuthorizeStream(requests(), metadata=metadata)
    assert next(stream).request_id == "in-time"
    assert refusal(lambda: next(stream)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


def test_no_request_is_read_before_its_caller_is_known(sidecar: RunningSidecar) -> None:
    """A call without a token ends when it begins, and sends no more than the first window."""
    path, calls = "/sidecar.v1.AuthorizationService/Authorize", 20
    unknown = UnfinishedCalls(sidecar.addresses[0], path, calls, MAX_REQUEST_BYTES)
    unknown.run(3)
    assert unknown.unfinished == 0
    assert unknown.sent_bytes <= calls * WINDOW_BYTES
    unknown.close()


def test_an_idle_stream_ends_with_its_token(sidecar: RunningSidecar) -> None:
    """Also without a request: it would keep its place for good."""
    metadata = bearer(KEYS.token(exp=int(time.time()) - 28))  # two seconds of leeway are left
    asked, done = chat(NULL_RECORDERS, model="small-1", request_id="idle"), threading.Event()

    def requests() -> Iterator[pb.AuthorizeRequest]:
        yield asked
        done.wait(60)

    stream = sidecar.stub.AuthorizeStream(requests(), metadata=metadata, timeout=30)
    assert next(stream).request_id == "idle"
    assert refusal(lambda: next(stream)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    done.set()


def test_streams_of_one_caller_leave_others_theirs(sidecar: RunningSidecar) -> None:
    """Each proven caller has a share, over all of its connections and tokens."""
    done = threading.Event()

    def nothing() -> Iterator[pb.AuthorizeRequest]:
        done.wait(60)
        yield from ()

    many = [
        sidecar.stub.AuthorizeStream(nothing(), metadata=bearer(KEYS.token()), timeout=60)
        for _ in range(MAX_STREAMS_OF_CALLER + 5)
    ]
    ended = eventually(
        lambda: over if len(over := [each for each in many if not each.is_active()]) >= 5 else []
    )
    assert [error_info(each).reason for each in ended] == ["TOO_MANY_STREAMS"] * 5
    other = bearer(KEYS.token(sub="system:serviceaccount:dev-workspace:other"))
    request = chat(NULL_RECORDERS, model="small-1", request_id="of another")
    (answer,) = sidecar.stub.AuthorizeStream(iter([request]), metadata=other)
    assert answer.request_id == request.request_id
    done.set()
    assert [list(each) for each in many if each not in ended] == [[]] * MAX_STREAMS_OF_CALLER


def test_a_flood_of_headers_ends_its_own_call_alone(sidecar: RunningSidecar) -> None:
    """It is refused before its token is read; others are answered."""
    for metadata in (
        (*bearer(GOOD), ("x-flood", "x" * 20_000)),
        (*bearer(GOOD), *((f"x-{n}", "x" * 50) for n in range(400))),
        bearer("x" * 100_000),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            sidecar.stub.Authorize(chat(NULL_RECORDERS, model="small-1"), metadata=metadata)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
    assert sidecar.stub.Authorize(
        chat(NULL_RECORDERS, model="small-1"), metadata=bearer(GOOD)
    ).hold_id


def test_keys_from_a_url_are_read_once_and_rotate(start_sidecar: Start, tmp_path: Path) -> None:
    """Made-up keys cause few reads, and the sidecar authenticates to the URL."""
    (tmp_path / "token").write_text("of-the-sidecar\n")
    with jwks_server(KEYS.jwks) as server:
        sidecar = start_sidecar(
            minimal(tmp_path / "p"), *ARGS, "--jwks", server.url,
            "--jwks-token-file", str(tmp_path / "token"),
        )  # fmt: skip
        for n in range(200):
            metadata = bearer(KEYS.token(headers={"kid": f"made-up-{n}"}))
            assert unauthenticated(sidecar, *metadata) == "TOKEN_INVALID"
        assert server.reads <= 2
        assert set(server.authorization) == {"Bearer of-the-sidecar"}
        server.answer = "hang"
        assert sidecar.stub.Authorize(
            chat(NULL_RECORDERS, model="small-1"), metadata=bearer(GOOD)
        ).hold_id
        assert sidecar.stop(signal.SIGTERM) == 0
        assert "of-the-sidecar" not in sidecar.log


@pytest.mark.parametrize(
    "answer",
    ["down", "hang", "drip", "huge", "not json", {"keys": []},
     {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "kid-RS256", "alg": "HS256"}]}],
    ids=str,
)  # fmt: skip
def test_without_keys_every_token_is_refused(
    answer: Any, start_sidecar: Start, tmp_path: Path
) -> None:
    """It fails closed, in bounded time and memory, as UNAVAILABLE."""
    with jwks_server(answer) as server:
        sidecar = start_sidecar(minimal(tmp_path / "p"), *ARGS, "--jwks", server.url)
        code, reason = refusal(
            lambda: sidecar.stub.Authorize(
                chat(NULL_RECORDERS, model="small-1"), metadata=bearer(GOOD), timeout=20
            )
        )
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "JWKS_UNAVAILABLE")
        assert "the JWKS cannot be read" in sidecar.log


def test_a_token_is_taken_on_any_address_only_with_tls(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Without TLS, an eavesdropper could use the token; the error says what to do."""
    (tmp_path / "jwks.json").write_text(json.dumps(KEYS.jwks))
    policies = minimal(tmp_path / "p")
    args = (*ARGS, "--jwks", str(tmp_path / "jwks.json"), "--listen", "0.0.0.0:0")
    with pytest.raises(AssertionError, match="--identity token with --tls-cert and --tls-key"):
        start_sidecar(policies, *args)
    authority = Authority()
    certificate, key = write_pair(tmp_path, authority.issue_server())
    sidecar = start_sidecar(policies, *args, "--tls-cert", certificate, "--tls-key", key)
    address = sidecar.addresses[0].replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - the test's point
    stub = secure_stub(address, authority.pem)
    assert stub.Authorize(chat(NULL_RECORDERS, model="small-1"), metadata=bearer(GOOD)).hold_id
    with pytest.raises(grpc.RpcError) as caught:
        stub.Authorize(chat(NULL_RECORDERS, model="small-1"))
    assert error_info(caught.value).reason == "TOKEN_MISSING"


def test_pins_apply_to_tokens_too(start_sidecar: Start, tmp_path: Path) -> None:
    """A token of another workspace is denied for every request."""
    (tmp_path / "jwks.json").write_text(json.dumps(KEYS.jwks))
    sidecar = start_sidecar(
        minimal(tmp_path / "p"),
        "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--jwks", str(tmp_path / "jwks.json"), "--pin", "workspace=lab", "--pin", "role=tester",
        env={"SIDECAR_CLAIM": 'id=claims.sub workspace="ws" in claims ? claims.ws : ""'},
    )  # fmt: skip
    nothing = pb.AuthorizeRequest(model="small-1", estimate=pb.Estimate(input_tokens=1))
    answer = sidecar.stub.Authorize(nothing, metadata=bearer(KEYS.token(ws="lab")))
    assert (answer.effect, list(answer.asserted)) == (pb.EFFECT_ALLOW, [])
    other = bearer(KEYS.token(ws="other"))
    denied = sidecar.stub.Authorize(nothing, metadata=other)
    assert [reason.code for reason in denied.reasons] == ["PRINCIPAL_CONTRADICTED"]
    settle = pb.SettleRequest(hold_id=answer.hold_id)
    assert refusal(lambda: sidecar.stub.Settle(settle, metadata=other)) == (
        grpc.StatusCode.PERMISSION_DENIED, "PRINCIPAL_CONTRADICTED",
    )  # fmt: skip


WORKSPACE_OF_CLAIM = 'workspace="ws" in claims ? claims.ws : ""'
ANY_WORKSPACE = pb.AuthorizeRequest(
    principal=tester(id="", workspace="lab"), model="small-1", estimate=pb.Estimate(input_tokens=1)
)


def by_claim(start_sidecar: Start, folder: Path, *args: str) -> RunningSidecar:
    """Start a sidecar whose workspaces come from a claim that not every token has."""
    (folder / "jwks.json").write_text(json.dumps(KEYS.jwks))
    return start_sidecar(
        minimal(folder / "p"), "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--jwks", str(folder / "jwks.json"), "--claim", "id=claims.sub",
        "--claim", WORKSPACE_OF_CLAIM, *args,
    )  # fmt: skip


def test_a_claim_that_yields_nothing_denies(start_sidecar: Start, tmp_path: Path) -> None:
    """The app may not say a field that a claim has to prove, whatever else the token says."""
    sidecar = by_claim(start_sidecar, tmp_path)
    assert sidecar.stub.Authorize(ANY_WORKSPACE, metadata=bearer(KEYS.token(ws="lab"))).hold_id
    for token in (KEYS.token(), KEYS.token(ws="")):
        call = partial(sidecar.stub.Authorize, ANY_WORKSPACE, metadata=bearer(token))
        assert refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "PRINCIPAL_UNPROVEN")
    assert "the app's own word" not in sidecar.log


def test_the_apps_own_word_has_to_be_allowed(start_sidecar: Start, tmp_path: Path) -> None:
    """`--unproven allow`: the response says what was not proven, and the log says so at start."""
    sidecar = by_claim(start_sidecar, tmp_path, "--unproven", "allow")
    answer = sidecar.stub.Authorize(ANY_WORKSPACE, metadata=bearer(KEYS.token()))
    assert (answer.effect, list(answer.asserted)) == (pb.EFFECT_ALLOW, ["role", "workspace"])
    denied = sidecar.stub.Authorize(ANY_WORKSPACE, metadata=bearer(KEYS.token(ws="other")))
    assert [reason.code for reason in denied.reasons] == ["PRINCIPAL_CONTRADICTED"]
    no_id = refusal(
        lambda: sidecar.stub.Authorize(ANY_WORKSPACE, metadata=bearer(KEYS.token(sub="")))
    )
    assert no_id == (grpc.StatusCode.UNAUTHENTICATED, "PRINCIPAL_UNPROVEN")
    assert "--unproven allow: where its claim yields nothing, workspace is the app's own word" in (
        sidecar.log
    )


def test_unproven_is_about_claims(start_sidecar: Start, tmp_path: Path) -> None:
    """Without claims there is nothing that it could allow."""
    with pytest.raises(AssertionError, match="--unproven needs --identity token"):
        start_sidecar(minimal(tmp_path / "p"), "--unproven", "allow")


def test_a_weak_key_is_not_used(start_sidecar: Start, tmp_path: Path) -> None:
    """A file without a usable key is refused at start, by the name of its flag."""
    weak = public_jwk(rsa.generate_private_key(65537, 1024), "weak")  # noqa: S505 - the point
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [weak]}))
    with pytest.raises(AssertionError, match=r"--jwks .*no signature key"):
        start_sidecar(minimal(tmp_path / "p"), *ARGS, "--jwks", str(tmp_path / "jwks.json"))
