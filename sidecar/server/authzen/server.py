"""The AuthZEN listener: HTTP requests decided by the authorization service."""

import json
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sidecar.authorization.call_recorder import CallRecorders, current_recorder
from sidecar.identity.caller import Authenticator, Caller
from sidecar.server.addresses import (
    ListenError,
    created_with,
    is_unix,
    refuse_socket_in_use,
    socket_path,
)
from sidecar.server.authzen import messages
from sidecar.server.errors import RefusedError, StoppingError, as_http, code_of
from sidecar.server.listener import ListenerSettings
from sidecar.server.service import AuthorizationService
from sidecar.server.strict_json import read_object
from sidecar.web.server import HttpServer, Request, Response

MAX_BODY_BYTES = 262_144
MAX_REQUEST_ID_BYTES = 256

_METHODS = {messages.EVALUATION: "POST", messages.EVALUATIONS: "POST", messages.METADATA: "GET"}


class _HttpCredentials:
    """The PresentedCredentials (sidecar.identity.caller) of one HTTP request."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def authorization(self) -> Sequence[str | bytes]:
        """Return every `authorization` header."""
        return [value.decode("latin-1") for value in self._request.header(b"authorization")]

    def certificate(self) -> bytes | None:
        """Return the client's certificate in PEM; None if it presented none."""
        der = self._request.certificate
        return None if der is None else ssl.DER_cert_to_PEM_cert(der).encode()


class AuthZen:
    """An HTTP listener for AuthZEN."""

    def __init__(
        self,
        service: AuthorizationService,
        authenticator: Authenticator,
        recorders: CallRecorders,
        *,
        url: str = "",
        settings: ListenerSettings,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Serve authenticated callers from this service; `url` is the metadata's, if not empty."""
        self._service = service
        self._authenticator = authenticator
        self._recorders = recorders
        self._url = url.rstrip("/")
        self._settings = settings
        self._tls = tls
        self._stopping = False
        self._server = HttpServer(
            self._handle,
            max_body_bytes=MAX_BODY_BYTES,
            max_connections=settings.max_connections,
            tls=tls,
        )

    async def start(self, address: str) -> str:
        """Listen, and return the address, with the actual port for port 0.

        Raises ListenError.
        """
        try:
            if is_unix(address):
                refuse_socket_in_use(address)
                path, mode = socket_path(address), self._settings.socket_mode
                with created_with(mode):
                    await self._server.start_unix(str(path))
                path.chmod(mode)
                self._url = self._url or "http://localhost"
                return address
            host, _, port = address.rpartition(":")
            number = await self._server.start_tcp(host.strip("[]"), int(port))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else error
            raise ListenError(f"{address}: cannot listen there: {why}") from None
        scheme = "http" if self._tls is None else "https"
        self._url = self._url or f"{scheme}://{host}:{number}"
        return f"{host}:{number}"

    async def stop(self, grace_seconds: float) -> None:
        """Accept no new requests, and let those in flight finish."""
        self._stopping = True
        await self._server.stop(grace_seconds)

    async def _handle(self, request: Request) -> Response:
        """Handle one request; the response repeats its X-Request-ID."""
        ids = request.header(b"x-request-id")
        if len(ids) > 1 or any(len(one) > MAX_REQUEST_ID_BYTES for one in ids):
            return _text(400, f"send one x-request-id of at most {MAX_REQUEST_ID_BYTES} bytes", {})
        echo = {"x-request-id": ids[0].decode("latin-1")} if ids else {}
        try:
            document = await self._dispatch(request)
        except Exception as error:
            status, _, message, headers = as_http(error)
            return _text(status, message, echo | headers)
        content = json.dumps(document, ensure_ascii=False).encode()
        return Response(200, content, {"content-type": "application/json", **echo})

    async def _dispatch(self, request: Request) -> object:
        if self._stopping:
            raise StoppingError
        path = request.target
        method = _METHODS.get(path)
        if method is None:
            raise RefusedError("NOT_FOUND", "no such path", 404)
        if request.method != method:
            raise RefusedError("METHOD_NOT_ALLOWED", f"the method is not {method}", 405)
        if request.header(b"origin"):
            # A web page in a browser on this host can reach loopback listeners.
            raise RefusedError("FROM_A_BROWSER", "requests from web pages are not allowed", 403)
        if path == messages.METADATA:
            return messages.metadata(self._url)
        caller = await self._authenticator.caller(_HttpCredentials(request))
        body = _body(request)
        trace = _trace(request)
        batch = messages.batch(body) if path == messages.EVALUATIONS else None
        if batch is None:
            return await self._evaluate(body, caller, trace)
        decisions = []
        for evaluation in batch.evaluations:
            decisions.append(await self._evaluate_in_batch(evaluation, caller, trace))
            if batch.semantic.ends_with(decisions[-1]["decision"]):
                break
        return {"evaluations": decisions}

    async def _evaluate(
        self, evaluation: dict[str, Any], caller: Caller, trace: Mapping[str, str]
    ) -> dict[str, Any]:
        """Decide one evaluation. An unknown resource type or action is denied."""
        recorder, code = await self._recorders.begin("Evaluation", trace), "CANCELLED"
        current_recorder.set(recorder)
        try:
            authorize = messages.authorize_request(evaluation)
            response = await self._service.authorize(authorize, caller)
        except Exception as error:
            code = code_of(error)
            if isinstance(error, RefusedError) and error.http_status == _UNKNOWN:
                return _failure(error)
            raise
        else:
            code = "OK"
            return messages.decision(response)
        finally:
            recorder.end(code)

    async def _evaluate_in_batch(
        self, evaluation: dict[str, Any], caller: Caller, trace: Mapping[str, str]
    ) -> dict[str, Any]:
        """Decide one evaluation of a batch: an error denies this one alone.

        The others may have made holds, so their decisions have to be returned.
        """
        try:
            return await self._evaluate(evaluation, caller, trace)
        except Exception as error:
            return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    status, reason, message, _ = as_http(error)
    return messages.failure(reason, message, status)


_UNKNOWN = 404


def _trace(request: Request) -> Mapping[str, str]:
    """Return a request's W3C trace context headers, if any."""
    found = {name: request.header(name.encode()) for name in ("traceparent", "tracestate")}
    return {name: values[0].decode("latin-1") for name, values in found.items() if values}


def _body(request: Request) -> dict[str, Any]:
    """Return the request's JSON object. Raises RefusedError."""
    kinds = request.header(b"content-type")
    kind, _, parameters = (kinds[0] if len(kinds) == 1 else b"").lower().partition(b";")
    if kind.strip() != b"application/json" or parameters.strip() not in (b"", b"charset=utf-8"):
        raise RefusedError("BODY_NOT_JSON", "the content-type is not application/json")
    if request.header(b"content-encoding"):
        raise RefusedError("BODY_ENCODED", "the body is compressed: send it uncompressed")
    return read_object(request.body)


def _text(status: int, message: str, headers: dict[str, str]) -> Response:
    if status == _METHOD_NOT_ALLOWED:
        headers = {"allow": message.rpartition(" ")[2], **headers}
    kind = {"content-type": "text/plain; charset=utf-8"}
    return Response(status, message.encode(), {**kind, **headers})


_METHOD_NOT_ALLOWED = 405
