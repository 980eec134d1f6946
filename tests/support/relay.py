"""A gRPC relay between an app and its sidecar, which loses, delays and counts calls."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from mistral_spend.v1 import authorization_pb2 as pb

Fault = Callable[[Callable[[], bytes]], bytes]
"""What happens to one call, given what forwards it."""


class Lost(Exception):  # noqa: N818 - of an answer
    """The response is lost."""


def lose_answer(forward: Callable[[], bytes]) -> bytes:
    """Let the sidecar decide, and lose its response."""
    forward()
    raise Lost


def refuse(_: Callable[[], bytes]) -> bytes:
    """Pass no call on."""
    raise Lost


def hang(forward: Callable[[], bytes], seconds: float = 30) -> bytes:
    """Let the sidecar decide, and respond when the client has given up."""
    answer = forward()
    time.sleep(seconds)
    return answer


class Relay:
    """Passes calls on to `target`; each takes the next fault of its method, if there is one."""

    def __init__(self, target: str) -> None:
        """Relay to this address, where the sidecar may restart."""
        self.calls: Counter[str] = Counter()
        self.authorized_ids: list[str] = []
        """The request_id of each Authorize that came here, in order."""
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.address = ""
        self._channel = grpc.insecure_channel(
            target,
            (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)),
        )

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what handles a call of any method."""
        path = str(details.method)
        method = path.rpartition("/")[2]

        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls[method] += 1
            if method == "Authorize":
                self.authorized_ids.append(pb.AuthorizeRequest.FromString(request).request_id)
            waiting = self.faults.get(method)
            fault = waiting.pop(0) if waiting else self.always.get(method)

            def forward() -> bytes:
                ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
                return ask(request, timeout=20, wait_for_ready=True)

            try:
                return forward() if fault is None else fault(forward)
            except Lost:
                context.abort(grpc.StatusCode.UNAVAILABLE, "lost by the relay")
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")

        return grpc.unary_unary_rpc_method_handler(handle)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def service(self, details: Any) -> Any:
        """Return what handles a call of any method."""
        return self._relay.service(details)


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Relay on a port of loopback."""
    made = Relay(target)
    server = grpc.server(ThreadPoolExecutor(32), [_Handler(made)])
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(0)
