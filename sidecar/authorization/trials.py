"""Trials: dry runs of one call with changes, on one policy set, which no recorder sees."""

import asyncio
from collections.abc import Callable

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.request_evaluation import EvaluationResult
from sidecar.domain.decisions import Decision, Effect
from sidecar.domain.usage import Endpoint

Change = Callable[[pb.AuthorizeRequest], None]
"""Changes a copy of the request."""


class Trials:
    """Dry runs of one validated call. Each gives way to decisions before it begins."""

    def __init__(self, authorizer: Authorizer, request: pb.AuthorizeRequest) -> None:
        """Try the request, changed, on what this authorizer's policies are now."""
        self.authorizer = authorizer.snapshot()
        self.request = request

    async def decide(
        self, change: Change = lambda _: None, wait_us: int = 0
    ) -> tuple[EvaluationResult, Decision]:
        """Decide the call with a change, or after a wait."""
        await asyncio.sleep(0)
        trial = pb.AuthorizeRequest()
        trial.CopyFrom(self.request)
        change(trial)
        return self.authorizer.later(wait_us).preview(trial)

    async def allows(self, change: Change, wait_us: int = 0) -> bool:
        """Return whether the call is allowed with a change, or after a wait."""
        _, decision = await self.decide(change, wait_us)
        return decision.effect is Effect.ALLOW


def with_output(tokens: int) -> Change:
    """Return the change of `max_output_tokens`."""
    return lambda trial: setattr(trial.estimate, "max_output_tokens", tokens)


def with_model(name: str, endpoint: Endpoint) -> Change:
    """Return the change of the model; without an endpoint, it could be another kind of call."""
    other = pb.AuthorizeRequest(model=name, endpoint=f"ENDPOINT_{endpoint}")
    return lambda trial: trial.MergeFrom(other)


def with_role(name: str) -> Change:
    """Return the change of the principal's role."""
    return lambda trial: setattr(trial.principal, "role", name)
