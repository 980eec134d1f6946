"""The cases that a program in every language has to pass, with a real sidecar."""

import itertools
import json
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clients.languages import Program
from mistral_spend.v1 import authorization_pb2 as pb
from support.holds import verified
from support.identities import AUDIENCE, ISSUER, SUBJECT, Authority, Issuer, write_pair
from support.mistral_standin import API_KEY, mistral_standin
from support.policies import limit, minimal
from support.relay import relay
from support.sidecar_process import RunningSidecar, chat, eventually, principal

from sidecar.domain.usage_json import MAX_USAGE_JSON_BYTES

INPUT_NANO_USD, OUTPUT_NANO_USD = 150, 600
"""What a token of mistral-small-latest costs."""

DEVELOPER = {"role": "developer", "workspace": "dev-workspace", "model": "mistral-small-latest"}
ADMIN = {**DEVELOPER, "role": "admin"}
TESTER = {"user": "ada", "role": "tester", "workspace": "lab", "model": "small-1"}

NOTHING_CALLED = {
    "called": False,
    "charged_cost_nano_usd": 0,
    "charged_tokens": 0,
    "released": False,
}

DENIALS: list[tuple[list[str], int, dict[str, object]]] = [
    (["KEY_UNKNOWN"], 401, {"key": "made-up-key"}),
    (["KEY_REVOKED"], 401, {"key": "old-dev-team-key"}),
    (["KEY_EXPIRED"], 401, {"key": "expired-key"}),
    (["KEY_OF_OTHER_WORKSPACE"], 401, {"key": "ml-team-key"}),
    (["KEY_MODEL_NOT_ALLOWED"], 403, {"key": "slow-key", "model": "codestral-latest"}),
    (["MODEL_NOT_ALLOWED"], 403, {"role": "analyst", "model": "codestral-latest"}),
    (["MODEL_UNKNOWN"], 403, {"model": "made-up-model"}),
    (["ROLE_UNKNOWN"], 403, {"role": "made-up-role"}),
    (["WORKSPACE_UNKNOWN"], 403, {"workspace": "made-up-workspace"}),
    (["NO_RULE_ALLOWS"], 403, {"workspace": "prod-workspace"}),
    (["REQUEST_TOO_LARGE"], 403, {"max_tokens": 1901}),
    (["KEY_MODEL_NOT_ALLOWED", "REQUEST_TOO_LARGE"], 403,
     {"key": "slow-key", "model": "codestral-latest", "max_tokens": 1901}),
]  # fmt: skip

LIMITS: list[tuple[list[str], dict[str, str], int]] = [
    (["KEY_RATE_LIMITED"], {**DEVELOPER, "key": "slow-key"}, 0),
    (["RATE_LIMITED"], {**ADMIN, "workspace": "ml-workspace"}, 0),
    (["DAILY_TOKENS_EXHAUSTED"], DEVELOPER, 500_000),
    (["HOURLY_SPEND_EXHAUSTED", "MONTHLY_BUDGET_EXHAUSTED"], ADMIN, 400_000_000),
    (["HOURLY_SPEND_EXHAUSTED"], {**ADMIN, "workspace": "ml-workspace"}, 400_000_000),
]
"""The reasons, who meets the limit, and the input tokens that each call before used."""


def test_allowed(program: Program, shipped: RunningSidecar, target: str, mistral: str) -> None:
    """The call goes out with the max_tokens of the answer, and is charged what Mistral counted."""
    user, request_id = named("allowed", program), named("call", program)
    result = program(
        "call", target=target, mistral=mistral, user=user, **DEVELOPER,
        input_tokens=200, max_tokens=50, request_id=request_id,
    )  # fmt: skip
    (body,) = received(mistral)
    assert body["max_tokens"] == 50
    usage = post(mistral, body)["usage"]
    cost = usage["prompt_tokens"] * INPUT_NANO_USD + usage["completion_tokens"] * OUTPUT_NANO_USD
    assert result == {
        "effect": "ALLOW",
        "reasons": [],
        "http_status": 0,
        "retry_after_seconds": 0,
        "called": True,
        "charged_cost_nano_usd": cost,
        "charged_tokens": usage["total_tokens"],
        "released": False,
    }
    assert decided(shipped, user) == [(request_id, "allow", "settled", "ok", cost)]


def test_answered_at_length(program: Program, shipped: RunningSidecar, target: str) -> None:
    """An answer that is larger than what Settle takes is settled with its usage alone."""
    user, request_id = named("long", program), named("long", program)
    with mistral_standin(padding_bytes=MAX_USAGE_JSON_BYTES) as mistral:
        result = program(
            "call", target=target, mistral=mistral, user=user, **DEVELOPER,
            input_tokens=200, max_tokens=50, request_id=request_id,
        )  # fmt: skip
        (body,) = received(mistral)
        usage = post(mistral, body)["usage"]
    cost = usage["prompt_tokens"] * INPUT_NANO_USD + usage["completion_tokens"] * OUTPUT_NANO_USD
    assert (result["called"], result["charged_cost_nano_usd"]) == (True, cost)
    assert decided(shipped, user) == [(request_id, "allow", "settled", "ok", cost)]


def test_released(program: Program, shipped: RunningSidecar, target: str) -> None:
    """Where no connection to Mistral comes about, the hold is given back."""
    user, request_id = named("released", program), named("away", program)
    with socket.socket() as silent:  # bound, so that no other program is, and not listening
        silent.bind(("127.0.0.1", 0))
        result = program(
            "call", target=target, mistral=f"http://127.0.0.1:{silent.getsockname()[1]}",
            user=user, **DEVELOPER, request_id=request_id,
        )  # fmt: skip
    assert {"effect": "ALLOW", **NOTHING_CALLED, "released": True}.items() <= result.items()
    assert [row[:3] for row in decided(shipped, user)] == [(request_id, "allow", "released")]


@pytest.mark.parametrize(
    ("reasons", "status", "flags"), DENIALS, ids=["+".join(row[0]) for row in DENIALS]
)
def test_denied(
    program: Program,
    target: str,
    mistral: str,
    reasons: list[str],
    status: int,
    flags: dict[str, object],
) -> None:
    """It gets every reason, and does not call the model."""
    flags = {"user": "ada", **DEVELOPER, **flags}
    result = program("call", target=target, mistral=mistral, **flags)
    assert sorted(result.pop("reasons")) == reasons
    assert result == {
        "effect": "DENY",
        "http_status": status,
        "retry_after_seconds": 0,
        **NOTHING_CALLED,
    }
    assert received(mistral) == []


@pytest.mark.parametrize(
    ("reasons", "flags", "tokens"), LIMITS, ids=["+".join(row[0]) for row in LIMITS]
)
def test_denied_until_later(
    program: Program,
    shipped: RunningSidecar,
    spent: RunningSidecar,
    mistral: str,
    reasons: list[str],
    flags: dict[str, str],
    tokens: int,
) -> None:
    """It gets a retry_after, and retries once; over TCP."""
    user = named("limited", program)
    sidecar = spent if "HOURLY_SPEND_EXHAUSTED" in reasons else shipped
    use_up(sidecar, user, flags, tokens)
    with relay(sidecar.addresses[1]) as between:
        result = program("call", target=between.address, mistral=mistral, user=user, **flags)
    assert sorted(result.pop("reasons")) == reasons
    assert result.pop("retry_after_seconds") > 0
    assert result == {"effect": "DENY", "http_status": 429, **NOTHING_CALLED}
    assert between.calls == {"Authorize": 1}
    assert received(mistral) == []


def test_stream(
    program: Program, start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """64 requests are in flight at once, and each gets one response, in any order."""
    policies = minimal(tmp_path / "p", daily=limit("800"))
    sidecar = start_sidecar(policies, "--listen", listen(program, tmp_path))
    result = program(
        "stream", target=sidecar.addresses[0], **TESTER,
        count=1000, in_flight=64, request_id="stream", deadline_seconds=60,
    )  # fmt: skip
    assert result == {
        "answered": 1000,
        "allowed": 800,
        "denied": 200,
        "unmatched": 0,
        "most_in_flight": 64,
    }
    recorded = [row[0] for row in decided(sidecar, "ada")]
    assert sorted(recorded) == sorted(f"stream-{number}" for number in range(1000))


def test_deadline_exceeded(
    program: Program, shipped: RunningSidecar, target: str, mistral: str
) -> None:
    """A stopped sidecar gives no response, so there is no call."""
    with stopped(shipped):
        result = program(
            "call", target=target, mistral=mistral, user="ada", **DEVELOPER, deadline_seconds=1
        )
    assert result == {"error": "DEADLINE_EXCEEDED", "called": False}
    assert received(mistral) == []


def test_no_sidecar(program: Program, mistral: str, tmp_path: Path) -> None:
    """Without a sidecar there is no call either."""
    unserved = listen(program, tmp_path)
    result = program("call", target=unserved, mistral=mistral, user="ada", **DEVELOPER)
    assert result == {"error": "UNAVAILABLE", "called": False}
    assert received(mistral) == []


def test_restarts(
    program: Program, start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> None:
    """L3, L4: after two kills under load, nothing is lost and nothing is counted twice."""
    address = listen(program, tmp_path)
    sidecar = start_sidecar(minimal(tmp_path / "p"), "--listen", address)
    count = 800
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            program, "many", target=address, **TESTER, count=count, in_flight=8,
            input_tokens=3, max_tokens=4, request_id="many",
        )  # fmt: skip
        for reached in (count // 8, count // 2):
            eventually(lambda reached=reached: len(decided(sidecar, "ada")) >= reached, 60)
            sidecar.stop(signal.SIGKILL)
            sidecar.restart()
        result = running.result()
    assert result.pop("retries") > 0
    cost = 7 * 1000
    assert result == {
        "allowed": count,
        "denied": 0,
        "settled": count,
        "charged_cost_nano_usd": count * cost,
    }
    expected = [(f"many-{number}", "allow", "settled", "ok", cost) for number in range(count)]
    assert sorted(decided(sidecar, "ada")) == sorted(expected)
    assert verified(sidecar.ledger)


def test_tls_and_token(
    program: Program, start_sidecar: Callable[..., RunningSidecar], tmp_path: Path, mistral: str
) -> None:
    """A token proves the caller; without it, or with another's name or CA, there is no call."""
    issuer, authority = Issuer(), Authority()
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.jwks))
    ca, token, other = (tmp_path / name for name in ("ca.pem", "token", "other.pem"))
    ca.write_bytes(authority.pem)
    other.write_bytes(Authority().pem)
    token.write_text(issuer.token() + "\n")
    certificate, key = write_pair(tmp_path, authority.issue_server())
    sidecar = start_sidecar(
        minimal(tmp_path / "p"),
        "--identity", "token", "--issuer", ISSUER, "--audience", AUDIENCE,
        "--claim", "id=claims.sub", "--jwks", str(tmp_path / "jwks.json"),
        "--tls-cert", certificate, "--tls-key", key,
    )  # fmt: skip
    flags: dict[str, Any] = {"target": sidecar.addresses[0], "mistral": mistral, **TESTER}
    unproven = program("call", **flags, ca=ca)
    assert unproven == {"error": "UNAUTHENTICATED", "called": False}
    untrusted = program("call", **flags, ca=other, token=token)
    assert untrusted == {"error": "UNAVAILABLE", "called": False}
    contradicted = program("call", **flags, ca=ca, token=token)
    assert contradicted["reasons"] == ["PRINCIPAL_CONTRADICTED"]
    assert received(mistral) == []
    del flags["user"]
    assert program("call", **flags, ca=ca, token=token)["called"]
    assert [row[1:3] for row in decided(sidecar, SUBJECT)] == [("deny", None), ("allow", "settled")]


@pytest.mark.parametrize(
    "args",
    [[], ["shout"], ["call", "--colour", "red"], ["call", "--user"]],
    ids=["no command", "another command", "another flag", "no value"],
)
def test_wrong_usage(program: Program, args: list[str]) -> None:
    """It exits 2, says why, and has no result."""
    done = program.start(*args)
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr


def named(case: str, program: Program, number: Iterator[int] = itertools.count()) -> str:  # noqa: B008 - one for all
    """Return a name that no other test has on the shared sidecars."""
    return f"{case}-{program.language.name}-{next(number)}"


def listen(program: Program, folder: Path) -> str:
    """Return an address that stays the same: a Unix socket, if the program can use one."""
    return free_address() if program.language.tcp_because else f"unix:{folder}/s.sock"


def free_address() -> str:
    """Return an address of loopback without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def use_up(sidecar: RunningSidecar, user: str, flags: dict[str, str], tokens: int) -> None:
    """Make calls that used so many input tokens, until there is no room for another."""
    stub = sidecar.stub
    who = principal(
        id=user, role=flags["role"], workspace=flags["workspace"], key_id=flags.get("key", "")
    )
    usage = pb.Usage(input_tokens=tokens, output_tokens=0)
    while (decision := stub.Authorize(chat(who))).effect == pb.EFFECT_ALLOW:
        stub.Settle(pb.SettleRequest(hold_id=decision.hold_id, usage=usage))


@contextmanager
def stopped(sidecar: RunningSidecar) -> Iterator[None]:
    """Stop its process for a while."""
    assert sidecar.process is not None
    sidecar.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        sidecar.process.send_signal(signal.SIGCONT)


def decided(sidecar: RunningSidecar, user: str) -> list[tuple[Any, ...]]:
    """Return request_id, effect, how the hold ended, outcome and cost of each of a user's calls."""
    with closing(sqlite3.connect(f"file:{sidecar.ledger}?mode=ro", uri=True)) as ledger:
        return ledger.execute(
            "SELECT substr(request_id, 1, instr(request_id, char(31)) - 1), effect, state, outcome, charged_cost_nano_usd"
            " FROM all_decisions LEFT JOIN holds USING (id) WHERE principal = ? ORDER BY id",
            (user,),
        ).fetchall()


def received(mistral: str) -> list[dict[str, Any]]:
    """Return the bodies that the stand-in was sent."""
    found: list[dict[str, Any]] = httpx2.get(f"{mistral}/received").json()["received"]
    return found


def post(mistral: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send the same body again, and return its usage."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = httpx2.post(f"{mistral}/v1/chat/completions", json=body, headers=headers)
    found: dict[str, Any] = answer.json()
    return found
