"""Limits the recorded denials of one caller, so that none fills the disk with them."""

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.decisions import Decision, Effect
from sidecar.identity.caller import Caller
from sidecar.identity.rate import Rate, RateLimitedError


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

    async def decide(
        self, request: pb.AuthorizeRequest, caller: Caller, contradiction: str
    ) -> Decision:
        """Decide a request. Raises what Authorizer.authorize raises, or DenialsLimitedError."""
        rate, owner = self._rate, caller.owner
        if rate is None or not owner or request.dry_run:
            return await self._authorizer.authorize(request, contradiction, owner)
        counted = True
        try:
            rate.take(owner)  # before it is decided, since others may be decided meanwhile
        except RateLimitedError as error:
            counted = False
            if self._authorizer.would_record_denial(request, contradiction, owner):
                raise DenialsLimitedError(error.retry_after_seconds or 0) from None
        is_recorded_denial = False
        try:
            decision = await self._authorizer.authorize(request, contradiction, owner)
            is_recorded_denial = decision.effect is Effect.DENY and not decision.replayed
        finally:
            if counted and not is_recorded_denial:
                rate.give_back(owner)
        return decision
