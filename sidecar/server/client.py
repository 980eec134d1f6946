"""Asking the admin service of a running sidecar, for the command line."""

from typing import Any

import grpc
from google.protobuf.message import Message

from sidecar.v1.admin_pb2_grpc import AdminServiceStub

TIMEOUT_SECONDS = 30.0
"""A reload may take as long as a load may."""


class AskError(Exception):
    """The sidecar did not answer, or refused the question; the text says which."""


def admin(address: str, rpc: str, request: Message) -> Any:
    """Call one RPC of the admin service. Raises AskError."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub = AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            return getattr(stub, rpc)(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise AskError(f"{address}: {error.code().name}: {error.details()}") from None
