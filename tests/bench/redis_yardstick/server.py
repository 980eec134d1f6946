"""What a Python team might build instead: rules as `if` statements, and budgets in Redis.

A gRPC server and its Redis, which appends each write to a file and waits for the disk
(`appendfsync always`). It serves Authorize and Settle of the sidecar's contract for chat calls,
with all rules of `policies/`. What it leaves out makes it cheaper: no record of denials, no replays,
no hash chain, no alerts, no check of the request, and minutes of the clock that do not slide.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1 import authorization_pb2_grpc as service
from redis.asyncio import Redis

from bench.redis_yardstick.policies import UNLIMITED, Policies

HOLD_SECONDS = 600
SOCKET = "redis.sock"
AUTHORIZE, SETTLE = (
    Path(__file__).with_name(f"{name}.lua").read_text() for name in ("authorize", "settle")
)
METERS = {"requests": pb.METER_REQUESTS, "tokens": pb.METER_TOKENS, "cost": pb.METER_COST}


class Authorization(service.AuthorizationServiceServicer):
    """Authorize and Settle."""

    def __init__(self, policies: Policies, redis: Redis) -> None:
        """Decide by these policies."""
        self._policies = policies
        self._authorize, self._settle = map(redis.register_script, (AUTHORIZE, SETTLE))

    async def Authorize(  # noqa: N802 - the contract's name
        self, request: pb.AuthorizeRequest, _context: object
    ) -> pb.AuthorizeResponse:
        """Deny by the rules, or hold the worst case on every budget."""
        now = datetime.now(UTC)
        unique = secrets.token_hex(16)
        answer = pb.AuthorizeResponse(
            request_id=request.request_id, decision_id=f"dec_{unique}", effect=pb.EFFECT_DENY
        )
        if reasons := self._policies.reasons(request, now.date()):
            answer.reasons.extend(reasons)
            return answer
        who, size = request.principal, request.estimate
        input_price, output_price = self._policies.prices(request.model, now.date())
        cost = size.input_tokens * input_price + size.max_output_tokens * output_price
        limits = self._policies.limits(request, cost, now)
        budgets = [{**vars(limit), "key": limit.key} for limit in limits]
        call = {
            "principal": who.id, "role": who.role, "workspace": who.workspace,
            "key": who.key_id, "model": request.model, "at": now.timestamp(),
            "input": size.input_tokens, "output": size.max_output_tokens, "cost": cost,
            "input_price": input_price, "output_price": output_price, "budgets": budgets,
        }  # fmt: skip
        hold_id = f"hold_{unique}"
        arguments: list[str | int] = [json.dumps(call), max(limit.end for limit in limits)]
        for limit in limits:
            arguments += (limit.ceiling, limit.takes, limit.end)
        keys = [hold_id, *(limit.key for limit in limits)]
        fits, *balances = await self._authorize(keys, arguments)
        _add_budgets(answer, budgets, balances)
        answer.resolved_model = self._policies.models[request.model]["id"]
        if fits:
            answer.effect = pb.EFFECT_ALLOW
            answer.hold_id = hold_id
            answer.hold_expires_at.FromDatetime(now + timedelta(seconds=HOLD_SECONDS))
            answer.max_output_tokens = size.max_output_tokens
            answer.held_cost_nano_usd = cost
            return answer
        for limit, budget in zip(limits, answer.budgets, strict=True):
            if not budget.unlimited and budget.remaining < limit.takes:
                message = f"{limit.scope} has used its budget"
                answer.reasons.add(
                    code=limit.reason, rule=limit.rule, http_status=429, message=message
                )
        return answer

    async def Settle(  # noqa: N802 - the contract's name
        self, request: pb.SettleRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SettleResponse:
        """Charge the real usage in place of the hold."""
        usage = request.usage
        counts = (
            usage.input_tokens if usage.HasField("input_tokens") else "",
            usage.output_tokens if usage.HasField("output_tokens") else "",
        )
        found = await self._settle([request.hold_id], counts)
        if not found:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such hold")
        encoded, cost, tokens, *balances = found
        call = json.loads(encoded)
        answer = pb.SettleResponse(
            charged_cost_nano_usd=cost,
            charged_tokens=tokens,
            overrun=cost > call["cost"] or tokens > call["input"] + call["output"],
        )
        _add_budgets(answer, call["budgets"], balances)
        return answer


def _add_budgets(
    answer: pb.AuthorizeResponse | pb.SettleResponse,
    budgets: list[dict[str, Any]],
    balances: list[int],
) -> None:
    for budget, spent, held in zip(budgets, balances[::2], balances[1::2], strict=True):
        one = answer.budgets.add(
            rule=budget["rule"],
            meter=METERS[budget["meter"]],
            scope=budget["scope"],
            spent=spent,
            held=held,
        )
        one.window_start.seconds, one.window_end.seconds = budget["start"], budget["end"]
        if budget["ceiling"] == UNLIMITED:
            one.unlimited = True
        else:
            one.ceiling = budget["ceiling"]
            one.remaining = max(0, budget["ceiling"] - spent - held)


async def serve(policies: Path) -> None:
    """Serve until terminated; log the address to standard error, as the sidecar does."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    redis = Redis(unix_socket_path=SOCKET)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    service.add_AuthorizationServiceServicer_to_server(  # type: ignore[no-untyped-call]
        Authorization(Policies(policies), redis), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stderr.write(f"SERVING on 127.0.0.1:{port}; policies {policies}\n")
    sys.stderr.flush()
    await stopped.wait()
    await server.stop(None)
    await redis.aclose()


def main(program: str, policies: str, folder: str) -> None:
    """Start Redis with its files in this folder, and serve."""
    # The name of a socket may have 107 bytes, and a folder's may be longer.
    os.chdir(folder)  # noqa: TID251 - a process of its own
    Path(SOCKET).unlink(missing_ok=True)
    command = [
        program, "--port", "0", "--unixsocket", SOCKET, "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as database:  # noqa: S603 - our own
        try:
            while not Path(SOCKET).exists():
                assert database.poll() is None, "redis-server ended"
                time.sleep(0.01)
            asyncio.run(serve(Path(policies)))
        finally:
            database.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
