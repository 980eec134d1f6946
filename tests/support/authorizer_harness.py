"""The authorizer and the ledger in this process, with a clock that the test sets."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Decision, Effect
from sidecar.domain.share import WHOLE, Share
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy import policy_set

T = TypeVar("T")

NOON = to_us(datetime(2026, 11, 10, 12, tzinfo=UTC))


class AuthorizerHarness:
    """An authorizer on a real ledger file, with a clock that the test sets."""

    def __init__(
        self,
        policies: Path,
        ledger: Path,
        engine: str = "cel-cpp",
        zone: tzinfo = UTC,
        share: Share = WHOLE,
    ) -> None:
        """Open the ledger; `now_us` starts at noon of 10 November 2026."""
        self.now_us = NOON
        self.loop = asyncio.new_event_loop()
        self.ledger = SqliteLedger(ledger, zone)
        policy = policy_set.load(policies, engine, share=share, zone=zone)
        self.authorizer = Authorizer(policy, self.ledger, lambda: self.now_us, 600 * SECOND_US)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def authorize(self, request: pb.AuthorizeRequest, contradiction: str = "") -> Decision:
        """Decide one call."""

        async def decided() -> Decision:
            return await self.authorizer.authorize(request, contradiction)

        return self.run(decided())

    def wait(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now_us += int(seconds * SECOND_US)

    def close(self) -> None:
        """Close the ledger."""
        self.run(self.ledger.close())
        self.loop.close()


@contextmanager
def authorizer_harness(*args: Any, **kwargs: Any) -> Iterator[AuthorizerHarness]:
    """Open a harness for the duration of a block."""
    opened = AuthorizerHarness(*args, **kwargs)
    try:
        yield opened
    finally:
        opened.close()


def codes(decision: Decision) -> list[str]:
    """Return the codes of a decision's reasons; none for Allow."""
    found = [reason.code for reason in decision.reasons]
    assert (decision.effect is Effect.ALLOW) == (not found)
    return found
