"""Apps of sidecars in a fleet: calls, and what came of them."""

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

CEILING = 300


def call(pod: RunningSidecar, who: str = "ada", timeout: float = 10, **changes: Any) -> str:
    """Authorize one call; return what came of it."""
    request = chat(tester(id=who), model="small-1", **changes)
    try:
        answer: pb.AuthorizeResponse = pod.stub.Authorize(request, timeout=timeout)
    except grpc.RpcError as error:
        return str(error_info(error).reason)
    return "allow" if answer.effect == pb.EFFECT_ALLOW else str(answer.reasons[0].code)


def patient_call(pod: RunningSidecar, who: str = "ada") -> str:
    """Call until it is decided, as an app does that is told when to try again."""
    return str(eventually(lambda: (found := call(pod, who)) != "FLEET_UNREACHABLE" and found))


def calls(pod: RunningSidecar, number: int, who: str = "ada", **changes: Any) -> Counter[str]:
    """Authorize many calls, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(lambda _: call(pod, who, **changes), range(number)))


def held(ledger: Path) -> int:
    """Return how many calls a ledger has admitted."""
    return _count(ledger, "holds")


def decided(ledger: Path) -> int:
    """Return how many calls a ledger has decided."""
    return _count(ledger, "decision_log")


def _count(ledger: Path, table: str) -> int:
    connection = sqlite3.connect(ledger)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)


def budget_of(pod: RunningSidecar) -> pb.Budget:
    """Return the budget as a sidecar shows it."""
    request = pb.GetBudgetsRequest(principal=tester(), model="small-1")
    answer: pb.GetBudgetsResponse = pod.stub.GetBudgets(request, timeout=10)
    return answer.budgets[0]
