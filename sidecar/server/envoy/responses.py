"""Envoy's CheckResponse for a decision: headers to add, or the denial to send back."""

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.envoy.v3 import ext_authz_pb2 as envoy
from sidecar.server.errors import HttpError, retry_after

DECISION_ID = "x-sidecar-decision-id"
HOLD_ID = "x-sidecar-hold-id"
HOLD_EXPIRES_AT = "x-sidecar-hold-expires-at"
BUDGETS = "x-sidecar-budgets"
MAX_TOKENS = "x-sidecar-max-tokens"
"""The max_tokens that would be allowed, if it differs from the body's."""

_PERMISSION_DENIED = 7


def allowed(response: pb.AuthorizeResponse) -> envoy.CheckResponse:
    """Allow a request; the client, not Mistral, gets headers with the hold and budgets."""
    ids = {"decision_id": response.decision_id, "hold_id": response.hold_id}
    check = envoy.CheckResponse(
        ok_response=envoy.OkHttpResponse(
            response_headers_to_add=_headers(
                {
                    DECISION_ID: response.decision_id,
                    HOLD_ID: response.hold_id,
                    HOLD_EXPIRES_AT: response.hold_expires_at.ToJsonString(),
                    BUDGETS: _budgets(response.budgets),
                }
            )
        ),
    )
    check.status.SetInParent()
    check.dynamic_metadata.update(ids)
    return check


def denied(refusal: HttpError) -> envoy.CheckResponse:
    """Deny a request, with a body like Mistral's errors."""
    error = {
        "object": "error",
        "message": refusal.message,
        "type": "denied",
        "param": None,
        "code": refusal.reason,
    }
    return envoy.CheckResponse(
        status=envoy.Status(code=_PERMISSION_DENIED),
        denied_response=envoy.DeniedHttpResponse(
            status=envoy.HttpStatus(code=refusal.status),
            headers=_headers({"content-type": "application/json", **refusal.headers}),
            body=json.dumps(error, ensure_ascii=False),
        ),
    )


def denied_by_decision(response: pb.AuthorizeResponse, max_tokens: int = 0) -> envoy.CheckResponse:
    """Deny a request with all reasons of a decision, and the HTTP status of the first.

    `max_tokens` would be allowed instead; 0 if no value would.
    """
    first = response.reasons[0]
    message = "; ".join(reason.message for reason in response.reasons)
    headers = {DECISION_ID: response.decision_id, BUDGETS: _budgets(response.budgets)}
    if max_tokens:
        message += f"; a max_tokens of {max_tokens} would be allowed now"
        headers[MAX_TOKENS] = str(max_tokens)
    if response.HasField("retry_after"):
        headers["retry-after"] = retry_after(response.retry_after.ToNanoseconds() / 10**9)
    return denied(HttpError(first.http_status or 403, first.code, message, headers))


def max_tokens_missing(max_tokens: int) -> envoy.CheckResponse:
    """Deny a body without max_tokens, which Envoy cannot add, and name the value to send."""
    message = f"the body has no max_tokens: send at most {max_tokens}"
    return denied(HttpError(400, "MAX_TOKENS_MISSING", message, {MAX_TOKENS: str(max_tokens)}))


def _budgets(budgets: Iterable[pb.Budget]) -> str:
    """Write `RULE;meter=cost;remaining=N`, joined by commas, without the scopes."""
    return ", ".join(
        f"{quote(budget.rule)};meter={pb.Meter.Name(budget.meter).removeprefix('METER_').lower()};"
        + ("unlimited" if budget.unlimited else f"remaining={budget.remaining}")
        for budget in budgets
    )


def _headers(values: Mapping[str, str]) -> list[envoy.HeaderValueOption]:
    """Write headers that overwrite any of the same name."""
    return [
        envoy.HeaderValueOption(
            header=envoy.HeaderValue(key=key, value=value),
            append_action=envoy.HeaderValueOption.APPEND_OVERWRITE_OR_ADD,
        )
        for key, value in values.items()
        if value
    ]
