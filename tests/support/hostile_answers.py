"""A server that answers the commands of operators with names as hostile as its caller likes."""

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.v1 import admin_pb2

AUTHORIZATION, ADMIN = "sidecar.v1.AuthorizationService", "sidecar.v1.AdminService"
DAY = Timestamp(seconds=1_800_000_000)


def _budget(name: str) -> pb.Budget:
    return pb.Budget(rule=name, scope=name, meter=pb.METER_TOKENS, window_start=DAY, window_end=DAY)


def _answers(name: str) -> dict[str, dict[str, tuple[Any, Message]]]:
    """Return the request's type and the answer of each method, by service."""
    policies = admin_pb2.PolicyStatus(
        summary=name, engine=name, problems=[name.replace("\n", " ")], loaded_at=DAY
    )
    hold = admin_pb2.OpenHold(
        hold_id=name, principal=name, workspace=name, model=name, expires_at=DAY
    )
    reason = pb.Reason(code=name, message=name, rule=name)
    return {
        AUTHORIZATION: {
            "GetBudgets": (
                pb.GetBudgetsRequest,
                pb.GetBudgetsResponse(budgets=[_budget(name)], reasons=[reason]),
            )
        },
        ADMIN: {
            "GetStatus": (
                admin_pb2.GetStatusRequest,
                admin_pb2.GetStatusResponse(policies=policies),
            ),
            "Reload": (admin_pb2.ReloadRequest, admin_pb2.ReloadResponse(policies=policies)),
            "ListHolds": (
                admin_pb2.ListHoldsRequest,
                admin_pb2.ListHoldsResponse(holds=[hold]),
            ),
            "Adjust": (
                admin_pb2.AdjustRequest,
                admin_pb2.AdjustResponse(budget=_budget(name)),
            ),
        },
    }


def _refuse(name: str) -> Callable[[Any, grpc.ServicerContext], Message]:
    def refuse(_: Any, context: grpc.ServicerContext) -> Message:
        context.abort(grpc.StatusCode.UNAVAILABLE, name)
        raise AssertionError

    return refuse


@contextmanager
def hostile_answers(name: str) -> Iterator[str]:
    """Serve answers in which every text is this name; yield the address."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for service, methods in _answers(name).items():
        handlers: dict[str, Any] = {
            method: grpc.unary_unary_rpc_method_handler(
                lambda _request, _context, answer=answer: answer,
                request_deserializer=kind.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for method, (kind, answer) in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    for service, method, kind in (
        ("grpc.health.v1.Health", "Check", health_pb2.HealthCheckRequest),
        (ADMIN, "ReleaseHold", admin_pb2.ReleaseHoldRequest),
    ):
        refusing: Any = grpc.unary_unary_rpc_method_handler(
            _refuse(name), request_deserializer=kind.FromString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: refusing}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
