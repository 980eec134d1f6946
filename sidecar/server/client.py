"""Client of the admin service of a running sidecar, for the command line."""

from typing import Any

import grpc
from google.protobuf.message import Message

from sidecar.v1.admin_pb2_grpc import AdminServiceStub

TIMEOUT_SECONDS = 30.0
"""More than a reload may take."""


class AdminCallError(Exception):
    """An admin call failed; the text has its status and message, so callers need no gRPC."""

    def __init__(self, address: str, status: str, message: str) -> None:
        """Say which sidecar answered what."""
        super().__init__(f"{address}: {status}: {message}")
        self.message = message
        """What the sidecar says."""


def admin(address: str, rpc: str, request: Message) -> Any:
    """Call one RPC of the admin service. Raises AdminCallError."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub = AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            return getattr(stub, rpc)(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise AdminCallError(address, error.code().name, error.details() or "") from None
