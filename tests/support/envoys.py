"""The requests that Envoy sends to the sidecar, without Envoy."""

import json
from typing import Any

import grpc

from sidecar.envoy.v3 import ext_authz_pb2 as envoy

PATH = "/envoy.service.auth.v3.Authorization/Check"
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "model": "mistral-small-latest",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "max_tokens": 100,
}


def check_request(
    body: bytes | dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    *,
    path: str = CHAT,
    method: str = "POST",
    peer: str = "",
    **extensions: str,
) -> envoy.CheckRequest:
    """Return Envoy's CheckRequest for an HTTP request; a header with the value "" is omitted."""
    content = (
        body if isinstance(body, bytes) else json.dumps(BODY if body is None else body).encode()
    )
    sent = {
        ":method": method,
        "content-type": "application/json",
        "content-length": str(len(content)),
        "x-envoy-auth-partial-body": "false",
        "x-user": "ada",
        **(headers or {}),
    }
    return envoy.CheckRequest(
        attributes=envoy.Attributes(
            source=envoy.Peer(principal=peer),
            request=envoy.Request(
                http=envoy.HttpRequest(
                    method=method,
                    path=path,
                    headers={name: value for name, value in sent.items() if value},
                    raw_body=content,
                )
            ),
            context_extensions=extensions,
        )
    )


def ask(address: str, request: envoy.CheckRequest) -> envoy.CheckResponse:
    """Call Check as Envoy does. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            PATH,
            request_serializer=envoy.CheckRequest.SerializeToString,
            response_deserializer=envoy.CheckResponse.FromString,
        )
        answer: envoy.CheckResponse = check(request, timeout=10)
    return answer


def refusal(answer: envoy.CheckResponse) -> tuple[int, str]:
    """Return the status and the code of a denied request."""
    assert answer.status.code == 7, answer
    denied = answer.denied_response
    error = json.loads(denied.body)
    assert list(error) == ["object", "message", "type", "param", "code"]
    return denied.status.code, error["code"]


def client_headers(answer: envoy.CheckResponse) -> dict[str, str]:
    """Return the headers for the client; each replaces any other of its name."""
    options = [*answer.ok_response.response_headers_to_add, *answer.denied_response.headers]
    overwrite = envoy.HeaderValueOption.APPEND_OVERWRITE_OR_ADD
    assert all(option.append_action == overwrite for option in options)
    return {option.header.key: option.header.value for option in options}
