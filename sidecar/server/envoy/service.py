"""envoy.service.auth.v3.Authorization: Envoy asks of each request on its way to Mistral."""

import asyncio
from collections.abc import Sequence

import grpc
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.authorization.call_recorder import (
    NULL_RECORDER,
    NULL_RECORDERS,
    CallRecorders,
    current_recorder,
)
from sidecar.contract.validation import InvalidFieldError
from sidecar.envoy.v3 import ext_authz_pb2 as envoy
from sidecar.identity.caller import Authenticator, Caller
from sidecar.identity.rate import RateLimitedError
from sidecar.server.envoy import mistral_request, responses
from sidecar.server.envoy.principal_map import Source, fill, headers_of
from sidecar.server.errors import RefusedError, as_http
from sidecar.server.service import AuthorizationService
from sidecar.server.unary_rpc import unary_rpc

SERVICE = "envoy.service.auth.v3.Authorization"


class ExtAuthz:
    """Answers Envoy by the same service that apps ask.

    What the request is to blame for is a denied request. What Envoy is to blame for, and
    what keeps the sidecar from deciding, ends the call, as for apps: whether requests go
    through then is for Envoy's failure_mode_allow to say.
    """

    name = SERVICE

    def __init__(
        self,
        service: AuthorizationService,
        authenticator: Authenticator,
        sources: Sequence[Source],
        recorders: CallRecorders = NULL_RECORDERS,
    ) -> None:
        """Ask this service, of principals that the proof and the sources make."""
        self._service = service
        self._recorders = recorders
        self._authenticator = authenticator
        self._sources = sources
        self._stopping = asyncio.Event()

    async def check(self, request: envoy.CheckRequest, caller: Caller) -> envoy.CheckResponse:
        """Decide one HTTP request. Raises what AuthorizationService.authorize raises."""
        try:
            question = self._question(request.attributes)
            return await self._decide(question, caller)
        except (RefusedError, InvalidFieldError, RateLimitedError) as error:
            return responses.denied(as_http(error))

    def _question(self, attributes: envoy.Attributes) -> pb.AuthorizeRequest:
        """Make a question of a request.

        Its x-request-id is not the question's: a client may send one twice, and would pay
        for one call.
        """
        http = attributes.request.http
        endpoint = mistral_request.endpoint_of(http.method, http.path)
        headers, body = headers_of(http), http.raw_body or http.body.encode()
        mistral_request.check_whole(headers, body)
        question = mistral_request.question(endpoint, body)
        fill(question, self._sources, attributes, headers)
        return question

    async def _decide(self, question: pb.AuthorizeRequest, caller: Caller) -> envoy.CheckResponse:
        # What would be answered of as much output as the role may have. Asking fills in a
        # principal, so the trial is made before.
        trial = pb.AuthorizeRequest()
        trial.CopyFrom(question)
        trial.dry_run, trial.estimate.max_output_tokens = True, 0
        trial.estimate.input_bytes += mistral_request.MAX_TOKENS_BYTES
        asked = question.estimate.max_output_tokens
        if question.endpoint in mistral_request.WITH_OUTPUT and not asked:
            answer = await self._try(trial, caller)
            if answer.effect == pb.EFFECT_ALLOW:
                return responses.max_tokens_missing(answer.max_output_tokens)
            return responses.denied_by_decision(answer)
        answer = await self._service.authorize(question, caller)
        if answer.effect == pb.EFFECT_ALLOW:
            return responses.allowed(answer)
        smaller = await self._smaller(trial, caller, asked) if asked else 0
        return responses.denied_by_decision(answer, smaller)

    async def _smaller(self, trial: pb.AuthorizeRequest, caller: Caller, asked: int) -> int:
        """Return a smaller max_tokens that would be let through, 0 where none is known."""
        try:
            answer = await self._try(trial, caller)
        except RateLimitedError:
            return 0
        smaller = answer.effect == pb.EFFECT_ALLOW and answer.max_output_tokens < asked
        return answer.max_output_tokens if smaller else 0

    async def _try(self, trial: pb.AuthorizeRequest, caller: Caller) -> pb.AuthorizeResponse:
        """Ask what would be answered. Nobody watches: it is no question of the request's."""
        before = current_recorder.set(NULL_RECORDER)
        try:
            return await self._service.authorize(trial, caller)
        finally:
            current_recorder.reset(before)

    def stop(self) -> None:
        """Refuse new calls."""
        self._stopping.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the RPC for a server."""
        check = unary_rpc(
            "Check",
            envoy.CheckRequest,
            self.check,
            authenticator=self._authenticator,
            is_stopping=self._stopping.is_set,
            recorders=self._recorders,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": check})
