"""Calling Mistral within a budget: ask the sidecar, send what it allows, settle what was used.

    budget = Budget("127.0.0.1:50051", when_unavailable="deny")
    with budget.authorize(principal, model, messages) as call:  # or: async with
        response = ask_mistral(model, messages, max_tokens=call.max_tokens)
        call.settle(response)

`sidecar.client.mistral.guard` does the same around the whole SDK. This needs no more than
grpcio and protobuf.
"""

from sidecar.client.balances import Balance, Balances
from sidecar.client.budget import Authorization, Budget
from sidecar.client.calls import Call
from sidecar.client.errors import (
    BudgetError,
    Denied,
    Refused,
    Replayed,
    Unavailable,
    Unbounded,
    Unguarded,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_CHAT as CHAT,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_EMBEDDINGS as EMBEDDINGS,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_FIM as FIM,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_MODERATION as MODERATION,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_OCR as OCR,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_REALTIME as REALTIME,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_SPEECH as SPEECH,
)
from sidecar.v1.authorization_pb2 import (
    ENDPOINT_TRANSCRIPTION as TRANSCRIPTION,
)
from sidecar.v1.authorization_pb2 import (
    Estimate,
    Principal,
)

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
    "Budget",
    "BudgetError",
    "Call",
    "Denied",
    "Estimate",
    "Principal",
    "Refused",
    "Replayed",
    "Unavailable",
    "Unbounded",
    "Unguarded",
]
