"""The caller beside an attack, which knows the right answer to each of its calls."""

import threading
import time
from pathlib import Path
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub
from support.policies import limit, minimal
from support.sidecar_process import chat, tester

from siege.attack import Metadata

HONEST = "honest"
"""The id of the caller's principal, which no attack uses."""
HELD_TOKENS = 200
NANO_USD_PER_TOKEN = 1000
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.005
"""Between calls, which leaves an attack its time on a machine with few cores."""

UNLIMITED = "1000000000"


def policies(folder: Path) -> Path:
    """Write policies with a budget of each meter for each principal."""
    own = {"window": "total", "per": "principal.id"}
    return minimal(
        folder,
        cost=limit(UNLIMITED, meter="cost", **own),
        tokens=limit(UNLIMITED, meter="tokens", **own),
        requests=limit(UNLIMITED, meter="requests", **own),
        open_calls=limit(UNLIMITED, window="concurrent", per="principal.id"),
    )


class HonestCaller:
    """Authorizes and settles one call after the other, and compares each answer.

    What it has spent is known to the last unit, as no other principal has its budgets.
    """

    def __init__(self, address: str, credentials: Metadata) -> None:
        """Start to call, on a connection of its own."""
        self.calls = 0
        self.waits_ms: list[float] = []
        """Of every RPC; two for each call."""
        self.faults: list[str] = []
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        )
        self._stub = AuthorizationServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._credentials = credentials
        self._spent_tokens = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Make a last call, after the attack, and stop."""
        self._done.set()
        self._thread.join()
        if not self.faults:
            self._checked_call()
        self._channel.close()

    def _run(self) -> None:
        while not self._done.is_set() and not self.faults:
            self._checked_call()
            self._done.wait(PAUSE_SECONDS)

    def _checked_call(self) -> None:
        try:
            self._call()
        except (AssertionError, grpc.RpcError) as error:
            self.faults.append(f"honest call {self.calls + 1}: {error}")

    def _call(self) -> None:
        number = self.calls
        usage = pb.Usage(input_tokens=number % 101, output_tokens=number * 13 % 101)
        used = usage.input_tokens + usage.output_tokens
        request = chat(tester(id=HONEST), model="small-1")
        held = self._timed("Authorize", request)
        assert held.effect == pb.EFFECT_ALLOW, held
        assert held.held_cost_nano_usd == HELD_TOKENS * NANO_USD_PER_TOKEN, held
        assert balances(held.budgets) == self._expected(number, HELD_TOKENS), held
        settled = self._timed("Settle", pb.SettleRequest(hold_id=held.hold_id, usage=usage))
        self._spent_tokens += used
        self.calls += 1
        charged = (settled.charged_cost_nano_usd, settled.charged_tokens, settled.overrun)
        assert charged == (used * NANO_USD_PER_TOKEN, used, False), settled
        assert balances(settled.budgets) == self._expected(number + 1, 0), settled

    def _timed(self, rpc: str, request: pb.AuthorizeRequest | pb.SettleRequest) -> Any:
        began = time.perf_counter()
        call = getattr(self._stub, rpc)
        answer = call(request, timeout=TIMEOUT_SECONDS, metadata=self._credentials)
        self.waits_ms.append((time.perf_counter() - began) * 1000)
        return answer

    def _expected(self, calls: int, held_tokens: int) -> dict[str, tuple[int, int]]:
        """Return what is spent and held on each budget after so many settled calls."""
        is_open = int(held_tokens > 0)
        return {
            "cost": (self._spent_tokens * NANO_USD_PER_TOKEN, held_tokens * NANO_USD_PER_TOKEN),
            "tokens": (self._spent_tokens, held_tokens),
            "requests": (calls, is_open),
            "open-calls": (0, is_open),
        }


def balances(budgets: "list[pb.Budget]") -> dict[str, tuple[int, int]]:
    """Return what is spent and held, by rule."""
    return {budget.rule: (budget.spent, budget.held) for budget in budgets}
