"""sidecar.v1.AuthorizationService: checks caller and request, then asks the authorizer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import grpc
from google.protobuf.message import Message
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.alternatives import fitting
from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.call_recorder import NULL_RECORDERS, CallRecorders, current_recorder
from sidecar.authorization.explain import Explainer
from sidecar.contract import responses, validation
from sidecar.contract.validation import Request
from sidecar.domain.decisions import Decision, Effect
from sidecar.identity.caller import Authenticator, Caller, contradiction
from sidecar.identity.pins import PinnedAuthenticator
from sidecar.identity.rate import Rate
from sidecar.server.credentials import GrpcCredentials
from sidecar.server.denial_limiter import DenialLimiter
from sidecar.server.errors import Context, StoppingError, TooManyStreamsError, fail, serialize
from sidecar.server.method_server import Handler, Methods
from sidecar.server.stream import Pending, Stream
from sidecar.server.unary_rpc import trace_of, unary_rpc
from sidecar.server.unfinished import UnfinishedRequests

MAX_STREAMS = 32
"""The most at a time. A stream whose responses are not read keeps up to a megabyte of them."""
MAX_UNREAD_STREAMS = 16
"""The most that have ended as their client does not read, beside those: gRPC keeps their calls."""
MAX_STREAMS_OF_CALLER = 8
"""The most of both of one proven caller, which leaves the others theirs."""
IDLE_SECONDS = 10.0
"""A stream without requests for this time makes room for another, where there is no other place."""

SERVICE = pb.DESCRIPTOR.services_by_name["AuthorizationService"].full_name


class AuthorizationService:
    """The RPCs over one authorizer."""

    name = SERVICE

    def __init__(
        self,
        authorizer: Authorizer,
        authenticator: Authenticator | None = None,
        rate: Rate | None = None,
        recorders: CallRecorders = NULL_RECORDERS,
        denials: Rate | None = None,
    ) -> None:
        """Serve authenticated callers, each within the rate limit, and that of denials.

        Without an authenticator, the principal of a request is the app's own word.
        """
        self._authorizer = authorizer
        self._authenticator = authenticator or PinnedAuthenticator({})
        self._rate = rate
        self._denials = DenialLimiter(authorizer, denials)
        self._recorders = recorders
        self._explainer = Explainer(authorizer)
        self._stopping = asyncio.Event()
        self._streams: dict[Context, Stream] = {}
        """The open streams."""
        self._unread: dict[Context, Stream] = {}
        """Those that have ended, but whose client does not read that."""

    async def authorize(self, request: pb.AuthorizeRequest, caller: Caller) -> pb.AuthorizeResponse:
        """See Authorize in the contract."""
        return await self._begin(request, caller).response()

    def _begin(self, request: pb.AuthorizeRequest, caller: Caller) -> Pending:
        """Check a request, and begin to decide it."""
        contradicted, asserted = caller.bind(request.principal)
        current_recorder.get().identified(asserted)
        self._check(request)
        self._count(request.principal)
        contradictory = contradiction(contradicted) if contradicted else ""
        change = self._denials.decide(request, caller, contradictory)

        async def answer(decision: Decision) -> pb.AuthorizeResponse:
            if decision.effect is Effect.ALLOW:
                return responses.authorize_response(decision, asserted)
            would_fit = await fitting(self._authorizer, request, decision)
            return responses.authorize_response(decision, asserted, would_fit)

        return Pending(change, answer)

    async def settle(self, request: pb.SettleRequest, caller: Caller) -> pb.SettleResponse:
        """See Settle in the contract."""
        caller.check_consistent()
        report = validation.check_settle(request)
        outcome = pb.Outcome.Name(request.outcome).removeprefix("OUTCOME_").lower()
        charge = await self._authorizer.settle(
            request.hold_id, report, request.response_model, outcome, caller.owner
        )
        return responses.settle_response(charge)

    async def release(self, request: pb.ReleaseRequest, caller: Caller) -> pb.ReleaseResponse:
        """See Release in the contract."""
        caller.check_consistent()
        validation.check_release(request)
        return responses.release_response(
            await self._authorizer.release(request.hold_id, request.reason, caller.owner)
        )

    async def get_budgets(
        self, request: pb.GetBudgetsRequest, caller: Caller
    ) -> pb.GetBudgetsResponse:
        """See GetBudgets in the contract."""
        caller.check_bound(request.principal)
        validation.check_get_budgets(request)
        self._count(request.principal)
        policy = self._authorizer.policy  # the budgets are of this set, as nothing is awaited
        budgets, reasons = self._authorizer.budgets(request.principal, request.model)
        return pb.GetBudgetsResponse(
            budgets=[responses.budget_message(budget) for budget in budgets],
            reasons=[responses.reason_message(reason) for reason in reasons],
            policy_digest=policy.digest,
            policy_generation=policy.generation,
        )

    async def explain(self, request: pb.ExplainRequest, caller: Caller) -> pb.ExplainResponse:
        """See Explain in the contract."""
        asserted = caller.check_bound(request.request.principal)
        self._check(request.request)
        self._count(request.request.principal)
        return responses.explain_response(await self._explainer.explain(request.request), asserted)

    async def authorize_stream(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.AuthorizeResponse]:
        """See AuthorizeStream in the contract."""
        try:
            if self._stopping.is_set():
                raise StoppingError  # noqa: TRY301 - answered below, as all errors are
            caller = await self._authenticator.caller(GrpcCredentials(context))
        except Exception as error:
            await fail(context, error)
        if not self._has_place(caller.owner):
            await fail(context, TooManyStreamsError())

        def begin(request: pb.AuthorizeRequest) -> Pending:
            caller.check_still_proven(time.time())  # a stream may outlive the proof
            return self._begin(request, caller)

        recorder = partial(self._recorders.begin, "AuthorizeStream", trace_of(context))
        leave = partial(self._leave, context)
        decided = Stream(caller, begin, requests, self._stopping, recorder, leave)
        self._streams[context] = decided
        try:
            async for answer in decided.responses():
                yield answer
        finally:
            self._streams.pop(context, None)
            self._unread.pop(context, None)
        if decided.failure is not None:
            about, failure = decided.failure
            await fail(context, failure, about)

    def _has_place(self, owner: str) -> bool:
        """Return whether a caller may open one more stream."""
        streams = (*self._streams.values(), *self._unread.values())
        of_owner = sum(stream.owner == owner for stream in streams)
        if owner and of_owner >= MAX_STREAMS_OF_CALLER:
            return False
        return len(self._streams) < MAX_STREAMS or self._make_room()

    def _make_room(self) -> bool:
        """End the stream that has been idle for the longest, if that is long enough."""
        longest = max(self._streams.values(), key=Stream.idle_seconds)
        if longest.idle_seconds() < IDLE_SECONDS:
            return False
        longest.end_idle()
        return len(self._streams) < MAX_STREAMS

    def _leave(self, context: Context) -> None:
        """Give the place of a stream that is not read to others, if few such are kept already."""
        if len(self._unread) < MAX_UNREAD_STREAMS:
            self._unread[context] = self._streams.pop(context)

    def _check(self, request: pb.AuthorizeRequest) -> None:
        """Raise InvalidFieldError for the first field that is malformed."""
        validation.check_authorize(
            request, self._authorizer.policy.catalogue.endpoint(request.model)
        )

    def _count(self, principal: pb.Principal) -> None:
        """Count one request against the principal's rate limit. Raises RateLimitedError."""
        if self._rate is not None:
            self._rate.take(principal.id)

    def stop(self) -> None:
        """Refuse new calls, and end every stream after its requests in flight."""
        self._stopping.set()

    def methods(self, unfinished: UnfinishedRequests) -> Methods:
        """Return the RPCs for a server, whose requests are read by `unfinished`."""

        def unary(
            method: str,
            request_type: type[Request],
            answer: Callable[[Request, Caller], Awaitable[Message]],
        ) -> Handler:
            return unary_rpc(
                method,
                request_type,
                answer,
                authenticator=self._authenticator,
                is_stopping=self._stopping.is_set,
                unfinished=unfinished,
                recorders=self._recorders,
            )

        return {
            "Authorize": unary("Authorize", pb.AuthorizeRequest, self.authorize),
            "Settle": unary("Settle", pb.SettleRequest, self.settle),
            "Release": unary("Release", pb.ReleaseRequest, self.release),
            "GetBudgets": unary("GetBudgets", pb.GetBudgetsRequest, self.get_budgets),
            "Explain": unary("Explain", pb.ExplainRequest, self.explain),
            "AuthorizeStream": grpc.stream_stream_rpc_method_handler(
                self.authorize_stream, response_serializer=serialize
            ),
        }
