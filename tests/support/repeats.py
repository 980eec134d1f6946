"""Faults between an app and its sidecar by which a call gets a replay."""

from collections.abc import Callable
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

from support.relay import Fault, Lost


def repeated(address: str, state: str) -> Fault:
    """Send a call twice and return the second response; in between the hold gets this state."""

    def fault(forward: Callable[[], bytes]) -> bytes:
        _end(address, forward(), state)
        return forward()

    return fault


def lost(address: str, state: str) -> Fault:
    """Lose the response, and bring its hold into this state."""

    def fault(forward: Callable[[], bytes]) -> bytes:
        _end(address, forward(), state)
        raise Lost

    return fault


def _end(address: str, answer: bytes, state: str) -> None:
    """Bring a hold into a state, as another app would; an open hold stays as it is."""
    hold_id = pb.AuthorizeResponse.FromString(answer).hold_id
    with grpc.insecure_channel(address) as channel:
        stub: Any = AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]
        if state == "settled":
            usage = pb.Usage(input_tokens=7, output_tokens=5)
            stub.Settle(pb.SettleRequest(hold_id=hold_id, usage=usage, outcome=pb.OUTCOME_OK))
        elif state == "released":
            stub.Release(pb.ReleaseRequest(hold_id=hold_id))
