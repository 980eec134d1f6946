"""Asking a running sidecar, for the command line."""

import grpc

from sidecar.v1 import authorization_pb2 as pb
from sidecar.v1.authorization_pb2_grpc import AuthorizationServiceStub

TIMEOUT_SECONDS = 5.0


class AskError(Exception):
    """The sidecar did not answer, or refused the question; the text says which."""


def get_budgets(
    address: str, principal: str, role: str, workspace: str, model: str
) -> pb.GetBudgetsResponse:
    """Call GetBudgets. Raises AskError."""
    request = pb.GetBudgetsRequest(
        principal=pb.Principal(id=principal, role=role, workspace=workspace), model=model
    )
    with grpc.insecure_channel(address) as channel:
        try:
            stub = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: pb.GetBudgetsResponse = stub.GetBudgets(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise AskError(f"{address}: {error.code().name}: {error.details()}") from None
    return answer
