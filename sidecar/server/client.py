"""Asking a running sidecar, for the command line."""

from dataclasses import asdict, dataclass

import grpc

from sidecar.v1 import authorization_pb2 as pb
from sidecar.v1.authorization_pb2_grpc import AuthorizationServiceStub

TIMEOUT_SECONDS = 5.0


class AskError(Exception):
    """The sidecar did not answer, or refused the question; the text says which."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The principal to ask for."""

    id: str
    role: str
    workspace: str
    key_id: str
    labels: dict[str, str]


def get_budgets(address: str, caller: Caller, model: str) -> pb.GetBudgetsResponse:
    """Call GetBudgets. Raises AskError."""
    request = pb.GetBudgetsRequest(principal=pb.Principal(**asdict(caller)), model=model)
    with grpc.insecure_channel(address) as channel:
        try:
            stub = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: pb.GetBudgetsResponse = stub.GetBudgets(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise AskError(f"{address}: {error.code().name}: {error.details()}") from None
    return answer
