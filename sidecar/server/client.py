"""Asking a running sidecar, for the command line."""

from dataclasses import asdict, dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from sidecar.v1 import authorization_pb2 as pb
from sidecar.v1.admin_pb2_grpc import AdminServiceStub
from sidecar.v1.authorization_pb2_grpc import AuthorizationServiceStub

TIMEOUT_SECONDS = 5.0


ADMIN_TIMEOUT_SECONDS = 30.0
"""A reload may take as long as a load may."""


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


def admin(address: str, rpc: str, request: Message) -> Any:
    """Call one RPC of the admin service. Raises AskError."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub = AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            return getattr(stub, rpc)(request, timeout=ADMIN_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise AskError(f"{address}: {error.code().name}: {error.details()}") from None
