"""Client of the Mistral spend sidecar: ask before a call, send what it allows, settle the usage.

    sidecar = SidecarClient("127.0.0.1:50051", when_unavailable="deny")
    with sidecar.authorize(principal, model, messages) as call:  # or: async with
        response = ask_mistral(model, messages, max_tokens=call.max_tokens)
        call.settle(response)

`mistral_spend.mistral.guard` does the same around the whole SDK. This needs no more than
grpcio and protobuf.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistral_spend.balances import Balance, Balances
    from mistral_spend.calls import Call
    from mistral_spend.errors import (
        BudgetError,
        Denied,
        Refused,
        Replayed,
        Unavailable,
        Unbounded,
        Unguarded,
    )
    from mistral_spend.sidecar_client import Authorization, SidecarClient
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_CHAT as CHAT
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_EMBEDDINGS as EMBEDDINGS
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_FIM as FIM
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_MODERATION as MODERATION
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_OCR as OCR
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_REALTIME as REALTIME
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_SPEECH as SPEECH
    from mistral_spend.v1.authorization_pb2 import ENDPOINT_TRANSCRIPTION as TRANSCRIPTION
    from mistral_spend.v1.authorization_pb2 import Estimate, Principal

__all__ = [
    "CHAT",
    "EMBEDDINGS",
    "FIM",
    "MODERATION",
    "OCR",
    "REALTIME",
    "SPEECH",
    "TRANSCRIPTION",
    "Authorization",
    "Balance",
    "Balances",
    "BudgetError",
    "Call",
    "Denied",
    "Estimate",
    "Principal",
    "Refused",
    "Replayed",
    "SidecarClient",
    "Unavailable",
    "Unbounded",
    "Unguarded",
]

_MODULES = {
    "Authorization": "sidecar_client",
    "Balance": "balances",
    "Balances": "balances",
    "Call": "calls",
    "SidecarClient": "sidecar_client",
    "Estimate": "v1.authorization_pb2",
    "Principal": "v1.authorization_pb2",
}


def __getattr__(name: str) -> Any:
    """Load a name on first use: the server needs only the messages of `v1`, without gRPC."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _MODULES.get(name, "errors"), name
    if name.isupper():
        module, attribute = "v1.authorization_pb2", f"ENDPOINT_{name}"
    value = getattr(import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
