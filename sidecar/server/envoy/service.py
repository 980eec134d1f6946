"""envoy.service.auth.v3.Authorization: decides each request that Envoy sends to Mistral."""

import asyncio
from collections.abc import Sequence

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
from sidecar.server.method_server import Methods
from sidecar.server.service import AuthorizationService
from sidecar.server.unary_rpc import unary_rpc
from sidecar.server.unfinished import UnfinishedRequests

SERVICE = "envoy.service.auth.v3.Authorization"


class ExtAuthz:
    """Envoy's external authorization, by the authorization service.

    An invalid HTTP request is denied. Errors of Envoy's call itself, and failures of the
    sidecar, end the RPC with a gRPC status, as for apps; Envoy's failure_mode_allow then
    says whether the HTTP request goes through.
    """

    name = SERVICE

    def __init__(
        self,
        service: AuthorizationService,
        authenticator: Authenticator,
        sources: Sequence[Source],
        recorders: CallRecorders = NULL_RECORDERS,
        attachment_tokens: int = 0,
    ) -> None:
        """Use this service; the principal comes from the authenticator and the sources.

        `attachment_tokens` bounds each image, audio and document in messages; 0 refuses them.
        """
        self._attachment_tokens = attachment_tokens
        self._service = service
        self._recorders = recorders
        self._authenticator = authenticator
        self._sources = sources
        self._stopping = asyncio.Event()

    async def check(self, request: envoy.CheckRequest, caller: Caller) -> envoy.CheckResponse:
        """Decide one HTTP request. Raises what AuthorizationService.authorize raises."""
        try:
            authorize = self._authorize_request(request.attributes)
            return await self._decide(authorize, caller)
        except (RefusedError, InvalidFieldError, RateLimitedError) as error:
            return responses.denied(as_http(error))

    def _authorize_request(self, attributes: envoy.Attributes) -> pb.AuthorizeRequest:
        """Translate an HTTP request.

        Its x-request-id does not become the request_id: a client could repeat one, and make
        two calls with one hold.
        """
        http = attributes.request.http
        endpoint = mistral_request.endpoint_of(http.method, http.path)
        headers, body = headers_of(http), http.raw_body or http.body.encode()
        mistral_request.check_whole(headers, body)
        request = mistral_request.authorize_request(endpoint, body, self._attachment_tokens)
        fill(request, self._sources, attributes, headers)
        return request

    async def _decide(self, request: pb.AuthorizeRequest, caller: Caller) -> envoy.CheckResponse:
        # Authorize fills in the request's principal, so the copy is made before.
        trial = _without_max_tokens(request)
        requested = request.estimate.max_output_tokens
        if request.endpoint in mistral_request.WITH_OUTPUT and not requested:
            response = await self._try(trial, caller)
            if response.effect == pb.EFFECT_ALLOW:
                return responses.max_tokens_missing(response.max_output_tokens)
            return responses.denied_by_decision(response, response.fitting_max_output_tokens)
        response = await self._service.authorize(request, caller)
        if response.effect == pb.EFFECT_ALLOW:
            return responses.allowed(response)
        fitting = response.fitting_max_output_tokens
        if requested and not fitting:
            fitting = await self._most_for_the_role(trial, caller, requested)
        return responses.denied_by_decision(response, fitting)

    async def _most_for_the_role(
        self, trial: pb.AuthorizeRequest, caller: Caller, requested: int
    ) -> int:
        """Return the max_tokens that the role's maximum and the limits allow; 0 for none.

        A rule on the size of requests has denied the call, so its decision says nothing of
        what would fit.
        """
        try:
            response = await self._try(trial, caller)
        except RateLimitedError:
            return 0
        is_allowed = response.effect == pb.EFFECT_ALLOW
        most = response.max_output_tokens if is_allowed else response.fitting_max_output_tokens
        return most if most < requested else 0

    async def _try(self, trial: pb.AuthorizeRequest, caller: Caller) -> pb.AuthorizeResponse:
        """Decide a trial, without a recorder: it is not the client's request."""
        before = current_recorder.set(NULL_RECORDER)
        try:
            return await self._service.authorize(trial, caller)
        finally:
            current_recorder.reset(before)

    def stop(self) -> None:
        """Refuse new calls."""
        self._stopping.set()

    def methods(self, unfinished: UnfinishedRequests) -> Methods:
        """Return the RPC for a server, whose requests are read by `unfinished`."""
        check = unary_rpc(
            "Check",
            envoy.CheckRequest,
            self.check,
            authenticator=self._authenticator,
            is_stopping=self._stopping.is_set,
            unfinished=unfinished,
            recorders=self._recorders,
        )
        return {"Check": check}


def _without_max_tokens(request: pb.AuthorizeRequest) -> pb.AuthorizeRequest:
    """Return the dry run of a request whose body leaves max_tokens out, with room to add it."""
    trial = pb.AuthorizeRequest()
    trial.CopyFrom(request)
    trial.dry_run, trial.estimate.max_output_tokens = True, 0
    trial.estimate.input_bytes += mistral_request.MAX_TOKENS_BYTES
    return trial
