"""`mistral = guard(Mistral(…), sidecar, principal)`: Mistral's SDK within its budgets.

The guarded client has the SDK's own types and signatures. It sends the max_tokens that the
sidecar allows, and settles each call with the usage in its response. Parts of the SDK whose cost
is unknown are not available.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from mistralai.client import Mistral, models
from mistralai.client.basesdk import BaseSDK
from mistralai.client.chat import Chat
from mistralai.client.embeddings import Embeddings
from mistralai.client.fim import Fim
from mistralai.client.ocr import Ocr
from mistralai.client.sdkconfiguration import SERVER_GLOBAL, SERVERS
from mistralai.client.types import UNSET
from mistralai.client.utils import RetryConfig
from mistralai.client.utils.eventstreaming import EventStream, EventStreamAsync

from mistral_spend.calls import Call
from mistral_spend.errors import Denied, Unguarded
from mistral_spend.fallback import Fallback
from mistral_spend.sidecar_client import Authorization, SidecarClient
from mistral_spend.streams import GuardedStream, GuardedStreamAsync
from mistral_spend.v1 import authorization_pb2 as pb

FREE = frozenset({"models", "files"})
"""Parts of the SDK that spend nothing."""

_TRANSPORT = frozenset({"retries", "server_url", "timeout_ms", "http_headers"})
"""Arguments of the SDK that are not sent in a request."""

_REGIONS = {urlsplit(url).hostname: name for name, url in SERVERS.items() if name != SERVER_GLOBAL}
"""The regions of the SDK's servers, by host."""

Events = EventStream[models.CompletionEvent]
EventsAsync = EventStreamAsync[models.CompletionEvent]


def guard(
    client: Mistral,
    sidecar: SidecarClient,
    principal: pb.Principal,
    *,
    tokens_per_attachment: int | None = None,
    pages_per_document: int | None = None,
    region: str = "",
    when_denied: Literal["raise", "shrink"] = "raise",
    min_output_tokens: int | None = None,
    fallback_models: Sequence[str] = (),
) -> Mistral:
    """Return a client that authorizes each call of chat, fim, embeddings and ocr.

    Each raises what SidecarClient.authorize raises. Images, audio and documents in messages need
    `tokens_per_attachment`, and OCR without `pages` needs `pages_per_document`: the most that
    one may take. Other parts of the SDK that may cost money raise Unguarded. The given client
    stays unchanged. The region is that of its server; behind a proxy, give `region`, such as
    "eu". Raises ValueError if it contradicts the server.

    With `when_denied="shrink"`, a call that limits deny is authorized once more, as the sidecar
    says it would fit: with less output, but at least `min_output_tokens`; or else with the first
    of `fallback_models` that fits, by the ids of the policies. Without `min_output_tokens` the
    output is never shrunk. If that is denied too, it raises Denied.
    """
    _region(client.sdk_configuration.get_server_details()[0], region)
    fallback = Fallback.of(when_denied, min_output_tokens, fallback_models)
    authorizer = _Authorizer(
        sidecar, principal, tokens_per_attachment, pages_per_document, region, fallback
    )
    return _GuardedMistral(client, authorizer)


@dataclass(frozen=True)
class _Authorizer:
    """Authorizes the calls of the guarded parts."""

    sidecar: SidecarClient
    principal: pb.Principal
    tokens_per_attachment: int | None
    pages_per_document: int | None
    region: str
    fallback: Fallback | None

    def authorization(self, endpoint: int, request: dict[str, Any], url: str) -> Authorization:
        """Return the authorization of a call with these arguments of the SDK, to a server's URL."""
        given = pb.Estimate(region=_region(url, self.region))
        if endpoint == pb.ENDPOINT_OCR:
            given.pages = 0 if request.get("pages") else self.pages_per_document or 0
        return self.sidecar.authorize_request(
            self.principal,
            {
                name: value
                for name, value in request.items()
                if name not in _TRANSPORT and value is not UNSET
            },
            endpoint=endpoint,
            estimate=given,
            tokens_per_attachment=self.tokens_per_attachment,
        )


class _Part(BaseSDK):
    """A guarded part of the SDK. The classes below add the SDK's own part."""

    def __init__(self, client: Mistral, authorizer: _Authorizer, endpoint: int) -> None:
        """Share the client's configuration, and keep the client from being collected."""
        super().__init__(client.sdk_configuration, parent_ref=client)
        self._authorizer = authorizer
        self._endpoint = endpoint

    def _run(self, send: Callable[..., Any], request: dict[str, Any], wrap: Any = None) -> Any:
        """Authorize, send and settle; with `wrap`, its result settles the call later."""
        request = _repeatable(request)
        authorization = self._authorization(request)
        try:
            call = authorization.begin()
        except Denied as denied:
            call = self._instead(authorization, denied).begin()
        with self._sending(call, request):
            response = send(**_bounded(request, call))
        return _settled(call, response) if wrap is None else wrap(response, call)

    async def _run_async(
        self, send: Callable[..., Any], request: dict[str, Any], wrap: Any = None
    ) -> Any:
        """Authorize, send and settle; with `wrap`, its result settles the call later."""
        request = _repeatable(request)
        authorization = self._authorization(request)
        try:
            call = await authorization.begin_async()
        except Denied as denied:
            call = await self._instead(authorization, denied).begin_async()
        with self._sending(call, request):
            response = await send(**_bounded(request, call))
        return _settled(call, response) if wrap is None else wrap(response, call)

    def _authorization(self, request: dict[str, Any]) -> Authorization:
        url = request.get("server_url") or self.sdk_configuration.get_server_details()[0]
        return self._authorizer.authorization(self._endpoint, request, url)

    def _instead(self, authorization: Authorization, denied: Denied) -> Authorization:
        """Return what the app accepts in place of a denied call. Raises Denied without it."""
        fallback = self._authorizer.fallback
        instead = None if fallback is None else fallback.instead(authorization, denied)
        if instead is None:
            raise denied
        return instead

    @contextmanager
    def _sending(self, call: Call, request: dict[str, Any]) -> Iterator[None]:
        """End the call with the error if sending it fails."""
        retries = (request.get("retries"), self.sdk_configuration.retry_config)
        try:
            yield
        except BaseException as error:
            # The SDK may have retried: the last error does not show what earlier attempts did.
            again = any(isinstance(it, RetryConfig) for it in retries)
            (call.end if again else call.failed)(error)
            raise


class _GuardedChat(_Part, Chat):
    """Guarded chat; `parse` and similar methods are included, since the SDK calls these."""

    def complete(self, **request: Any) -> models.ChatCompletionResponse:
        """See the SDK."""
        response: models.ChatCompletionResponse = self._run(super().complete, request)
        return response

    async def complete_async(self, **request: Any) -> models.ChatCompletionResponse:
        """See the SDK."""
        response: models.ChatCompletionResponse
        response = await self._run_async(super().complete_async, request)
        return response

    def stream(self, **request: Any) -> Events:
        """See the SDK."""
        events: Events = self._run(super().stream, request, GuardedStream)
        return events

    async def stream_async(self, **request: Any) -> EventsAsync:
        """See the SDK."""
        events: EventsAsync
        events = await self._run_async(super().stream_async, request, GuardedStreamAsync)
        return events


class _GuardedFim(_Part, Fim):
    def complete(self, **request: Any) -> models.FIMCompletionResponse:
        """See the SDK."""
        response: models.FIMCompletionResponse = self._run(super().complete, request)
        return response

    async def complete_async(self, **request: Any) -> models.FIMCompletionResponse:
        """See the SDK."""
        response: models.FIMCompletionResponse
        response = await self._run_async(super().complete_async, request)
        return response

    def stream(self, **request: Any) -> Events:
        """See the SDK."""
        events: Events = self._run(super().stream, request, GuardedStream)
        return events

    async def stream_async(self, **request: Any) -> EventsAsync:
        """See the SDK."""
        events: EventsAsync
        events = await self._run_async(super().stream_async, request, GuardedStreamAsync)
        return events


class _GuardedEmbeddings(_Part, Embeddings):
    def create(self, **request: Any) -> models.EmbeddingResponse:
        """See the SDK."""
        response: models.EmbeddingResponse = self._run(super().create, request)
        return response

    async def create_async(self, **request: Any) -> models.EmbeddingResponse:
        """See the SDK."""
        response: models.EmbeddingResponse
        response = await self._run_async(super().create_async, request)
        return response


class _GuardedOcr(_Part, Ocr):
    def process(self, **request: Any) -> models.OCRResponse:
        """See the SDK."""
        response: models.OCRResponse = self._run(super().process, request)
        return response

    async def process_async(self, **request: Any) -> models.OCRResponse:
        """See the SDK."""
        response: models.OCRResponse
        response = await self._run_async(super().process_async, request)
        return response


class _GuardedMistral(Mistral):
    """The client, with guarded parts in place of the SDK's."""

    def __init__(self, client: Mistral, authorizer: _Authorizer) -> None:
        """Share the client's connections: this opens none, and closes those of the client."""
        BaseSDK.__init__(self, client.sdk_configuration, parent_ref=client)
        self.chat = _GuardedChat(client, authorizer, pb.ENDPOINT_CHAT)
        self.fim = _GuardedFim(client, authorizer, pb.ENDPOINT_FIM)
        self.embeddings = _GuardedEmbeddings(client, authorizer, pb.ENDPOINT_EMBEDDINGS)
        self.ocr = _GuardedOcr(client, authorizer, pb.ENDPOINT_OCR)

    def __getattr__(self, name: str) -> Any:
        """Return a part that costs nothing. Raises Unguarded for others."""
        if name in FREE:
            return super().__getattr__(name)
        raise Unguarded(
            f"{name} is not guarded: call it on the client itself, within SidecarClient.authorize()"
        )


def _repeatable(request: dict[str, Any]) -> dict[str, Any]:
    """Convert iterators to lists, since a request is measured and then sent."""
    return {name: list(it) if isinstance(it, Iterator) else it for name, it in request.items()}


def _bounded(request: dict[str, Any], call: Call) -> dict[str, Any]:
    """Return the request as it was authorized."""
    bounded = {**request, "model": call.model}
    return bounded if call.max_tokens is None else {**bounded, "max_tokens": call.max_tokens}


def _settled(call: Call, response: Any) -> Any:
    call.settle(response)
    return response


def _region(url: str, given: str) -> str:
    """Return the region of a server: of the SDK's own servers by host, else the given one.

    Raises ValueError if they differ.
    """
    region = _REGIONS.get(urlsplit(url).hostname, "")
    if region and given not in ("", region):
        raise ValueError(f"the client's server is in {region}, and region={given!r}")
    return region or given
