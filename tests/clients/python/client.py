"""Calls Mistral within a budget: authorizes each call, and settles its usage."""

import argparse
import itertools
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.05
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
)

Answer = TypeVar("Answer")


def main() -> None:
    """Run one command, and print its result."""
    flags = read_flags()
    with connect(flags) as channel:
        sidecar = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            result = {"call": call, "stream": stream, "many": many}[flags.command](sidecar, flags)
        except grpc.RpcError as error:
            result = {"error": error.code().name, "called": False}
    sys.stdout.write(json.dumps(result) + "\n")


def call(sidecar: AuthorizationServiceStub, flags: argparse.Namespace) -> dict[str, Any]:
    """Make one call to Mistral, if it may go out."""
    decision = sidecar.Authorize(
        request(flags, flags.request_id),
        timeout=flags.deadline_seconds,
        metadata=authenticator(flags),
    )
    result = {
        "effect": pb.Effect.Name(decision.effect).removeprefix("EFFECT_"),
        "reasons": [reason.code for reason in decision.reasons],
        "http_status": decision.reasons[0].http_status if decision.reasons else 0,
        "retry_after_seconds": decision.retry_after.ToNanoseconds() / 1e9,
        "called": False,
        "charged_cost_nano_usd": 0,
        "charged_tokens": 0,
        "released": False,
    }
    if decision.effect != pb.EFFECT_ALLOW:
        return result
    ended: pb.SettleResponse | pb.ReleaseResponse
    try:
        report = complete(flags, decision)
    except ConnectionRefusedError:
        ended = sidecar.Release(
            pb.ReleaseRequest(hold_id=decision.hold_id, reason="no connection to Mistral"),
            timeout=flags.deadline_seconds,
            metadata=authenticator(flags),
        )
        result["released"] = True
    else:
        result["called"] = True
        try:
            ended = sidecar.Settle(
                report, timeout=flags.deadline_seconds, metadata=authenticator(flags)
            )
        except grpc.RpcError as error:
            return {"error": error.code().name, "called": True}
    result["charged_cost_nano_usd"] = ended.charged_cost_nano_usd
    result["charged_tokens"] = ended.charged_tokens
    return result


def complete(flags: argparse.Namespace, decision: pb.AuthorizeResponse) -> pb.SettleRequest:
    """Call Mistral; return what there is to settle. Raises ConnectionRefusedError."""
    body = {
        "model": flags.model,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": decision.max_output_tokens,
    }
    post = urllib.request.Request(  # noqa: S310 - the caller's own URL
        f"{flags.mistral}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ.get('MISTRAL_API_KEY', '')}",
            "Content-Type": "application/json",
        },
    )
    # What is unknown is spent: without a usage, a hold is charged as it was held.
    unknown = pb.SettleRequest(hold_id=decision.hold_id, outcome=pb.OUTCOME_FAILED)
    try:
        with urllib.request.urlopen(post, timeout=60) as response:  # noqa: S310 - see above
            completion = json.loads(response.read())
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise error.reason from None
        return unknown
    except OSError:
        return unknown
    return pb.SettleRequest(
        hold_id=decision.hold_id,
        usage_json=json.dumps(completion.get("usage")),  # the whole may be too large
        response_model=completion["model"],
        outcome=pb.OUTCOME_OK,
    )


def stream(sidecar: AuthorizationServiceStub, flags: argparse.Namespace) -> dict[str, int]:
    """Authorize many calls on one stream, with a bounded number in flight."""
    result = dict.fromkeys(("answered", "allowed", "denied", "unmatched", "most_in_flight"), 0)
    places = threading.Semaphore(flags.in_flight)
    unanswered: set[str] = set()

    def requests() -> Iterator[pb.AuthorizeRequest]:
        for number in range(flags.count):
            places.acquire()
            request_id = f"{flags.request_id}-{number}"
            unanswered.add(request_id)
            result["most_in_flight"] = max(result["most_in_flight"], len(unanswered))
            yield request(flags, request_id)

    answers = sidecar.AuthorizeStream(
        requests(), timeout=flags.deadline_seconds, metadata=authenticator(flags)
    )
    for answer in answers:
        if answer.request_id not in unanswered:
            result["unmatched"] += 1
            continue
        unanswered.remove(answer.request_id)
        result["answered"] += 1
        result["allowed" if answer.effect == pb.EFFECT_ALLOW else "denied"] += 1
        places.release()
    return result


def many(sidecar: AuthorizationServiceStub, flags: argparse.Namespace) -> dict[str, int]:
    """Authorize and settle many calls, while the sidecar may restart."""
    retries = itertools.count()

    def one(number: int) -> pb.SettleResponse | None:
        give_up = time.monotonic() + PATIENCE_SECONDS

        def patiently(ask: Callable[..., Answer], message: object) -> Answer:
            while True:
                try:
                    return ask(
                        message, timeout=flags.deadline_seconds, metadata=authenticator(flags)
                    )
                except grpc.RpcError as error:
                    if error.code() not in AGAIN or time.monotonic() > give_up:
                        raise
                next(retries)
                time.sleep(PAUSE_SECONDS)

        # The same request_id and hold_id each time: what was decided is not decided twice.
        decision = patiently(sidecar.Authorize, request(flags, f"{flags.request_id}-{number}"))
        if decision.effect != pb.EFFECT_ALLOW:
            return None
        usage = pb.Usage(input_tokens=flags.input_tokens, output_tokens=flags.max_tokens)
        settle = pb.SettleRequest(hold_id=decision.hold_id, usage=usage, outcome=pb.OUTCOME_OK)
        settled: pb.SettleResponse = patiently(sidecar.Settle, settle)
        return settled

    with ThreadPoolExecutor(flags.in_flight) as pool:
        ends = list(pool.map(one, range(flags.count)))
    settled = [end for end in ends if end is not None]
    return {
        "allowed": len(settled),
        "denied": len(ends) - len(settled),
        "settled": len(settled),
        "retries": next(retries),
        "charged_cost_nano_usd": sum(end.charged_cost_nano_usd for end in settled),
    }


def request(flags: argparse.Namespace, request_id: str) -> pb.AuthorizeRequest:
    """Return the question about one call."""
    return pb.AuthorizeRequest(
        request_id=request_id,
        principal=pb.Principal(
            id=flags.user, role=flags.role, workspace=flags.workspace, key_id=flags.key
        ),
        model=flags.model,
        endpoint=pb.ENDPOINT_CHAT,
        estimate=pb.Estimate(input_tokens=flags.input_tokens, max_output_tokens=flags.max_tokens),
    )


def connect(flags: argparse.Namespace) -> grpc.Channel:
    """Open a channel, with TLS if there is a CA to trust."""
    if flags.ca is None:
        return grpc.insecure_channel(flags.target, OPTIONS)
    credentials = grpc.ssl_channel_credentials(flags.ca.read_bytes())
    return grpc.secure_channel(flags.target, credentials, OPTIONS)


def authenticator(flags: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Return the token as metadata. The file is read each time, since tokens are replaced."""
    if flags.token is None:
        return ()
    return (("authorization", f"Bearer {flags.token.read_text().strip()}"),)


def read_flags() -> argparse.Namespace:
    """Read the command line; exits 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("call", "stream", "many"))
    parser.add_argument("--target", required=True)
    for name in ("mistral", "user", "workspace", "role", "key", "model", "request-id"):
        parser.add_argument(f"--{name}", default="")
    for name in ("ca", "token"):
        parser.add_argument(f"--{name}", type=Path)
    for name, default in (
        ("input-tokens", 100),
        ("max-tokens", 100),
        ("count", 1),
        ("in-flight", 4),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--deadline-seconds", type=float, default=5.0)
    flags = parser.parse_args()
    if flags.token is not None and flags.ca is None:
        parser.error("--token needs --ca: a token goes over TLS alone")
    return flags


if __name__ == "__main__":
    main()
