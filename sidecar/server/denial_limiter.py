"""Limits the recorded denials of one caller, so that none fills the disk with them."""

import asyncio

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.decisions import Decision, Effect
from sidecar.identity.caller import Caller
from sidecar.identity.rate import Rate, RateLimitedError
from sidecar.ledger.change import Change


class DenialsLimitedError(RateLimitedError):
    """A caller is denied more often than is recorded, and would be denied again."""

    reason = "TOO_MANY_DENIALS"
    text = (
        "this caller is denied more often than --max-denial-rate lets be recorded, and this call"
        " would be denied, too; calls that would be allowed are still decided"
    )


class DenialLimiter:
    """Decides calls, and refuses those of a proven caller that are one denial too many.

    Such a call is previewed, which writes nothing: a call that would be allowed is never refused,
    nor a repeat, which has its decision already.
    """

    def __init__(self, authorizer: Authorizer, rate: Rate | None) -> None:
        """Without a rate, every denial is recorded; and always those of unproven callers."""
        self._authorizer = authorizer
        self._rate = rate

    def decide(
        self, request: pb.AuthorizeRequest, caller: Caller, contradiction: str
    ) -> Change[Decision]:
        """Decide a request. Raises what Authorizer.authorize raises, or DenialsLimitedError."""
        rate, owner = self._rate, caller.owner
        if rate is None or not owner or request.dry_run:
            return self._authorizer.authorize(request, contradiction, owner)
        try:
            rate.take(owner)  # before it is decided, since others may be decided meanwhile
        except RateLimitedError as error:
            if self._authorizer.would_record_denial(request, contradiction, owner):
                raise DenialsLimitedError(error.retry_after_seconds or 0) from None
            return self._authorizer.authorize(request, contradiction, owner)
        try:
            change = self._authorizer.authorize(request, contradiction, owner)
        except BaseException:
            rate.give_back(owner)
            raise

        def give_back(change: asyncio.Future[Decision]) -> None:
            if not _is_recorded_denial(change):
                rate.give_back(owner)

        change.add_done_callback(give_back)
        return change


def _is_recorded_denial(change: asyncio.Future[Decision]) -> bool:
    if change.cancelled() or change.exception() is not None:
        return False
    decision = change.result()
    return decision.effect is Effect.DENY and not decision.replayed
