"""Decisions in Envoy's words: what goes on with the request, or back to who sent it."""

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
"""What a body may say as max_tokens, where another value would have been let through."""

_PERMISSION_DENIED = 7


def allowed(answer: pb.AuthorizeResponse) -> envoy.CheckResponse:
    """Let a request through, and tell its sender, not Mistral, of what is held for it."""
    ids = {"decision_id": answer.decision_id, "hold_id": answer.hold_id}
    response = envoy.CheckResponse(
        ok_response=envoy.OkHttpResponse(
            response_headers_to_add=_headers(
                {
                    DECISION_ID: answer.decision_id,
                    HOLD_ID: answer.hold_id,
                    HOLD_EXPIRES_AT: answer.hold_expires_at.ToJsonString(),
                    BUDGETS: _budgets(answer.budgets),
                }
            )
        ),
    )
    response.status.SetInParent()
    response.dynamic_metadata.update(ids)
    return response


def denied(refusal: HttpError) -> envoy.CheckResponse:
    """Answer a request in Mistral's place, in the shape of its errors."""
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


def denied_by_decision(answer: pb.AuthorizeResponse, max_tokens: int = 0) -> envoy.CheckResponse:
    """Answer with every reason of a Deny, and the status of the first.

    `max_tokens` is what would be let through instead, 0 for nothing.
    """
    first = answer.reasons[0]
    message = "; ".join(reason.message for reason in answer.reasons)
    headers = {DECISION_ID: answer.decision_id, BUDGETS: _budgets(answer.budgets)}
    if max_tokens:
        message += f"; a max_tokens of {max_tokens} would be let through now"
        headers[MAX_TOKENS] = str(max_tokens)
    if answer.HasField("retry_after"):
        headers["retry-after"] = retry_after(answer.retry_after.ToNanoseconds() / 10**9)
    return denied(HttpError(first.http_status or 403, first.code, message, headers))


def max_tokens_missing(max_tokens: int) -> envoy.CheckResponse:
    """Say what the body has to say: it cannot be changed on its way."""
    message = f"the body has no max_tokens: send {max_tokens}, or less"
    return denied(HttpError(400, "MAX_TOKENS_MISSING", message, {MAX_TOKENS: str(max_tokens)}))


def _budgets(budgets: Iterable[pb.Budget]) -> str:
    """Write `RULE;meter=cost;remaining=N`, joined by commas; whom it counts for is left out."""
    return ", ".join(
        f"{quote(budget.rule)};meter={pb.Meter.Name(budget.meter).removeprefix('METER_').lower()};"
        + ("unlimited" if budget.unlimited else f"remaining={budget.remaining}")
        for budget in budgets
    )


def _headers(values: Mapping[str, str]) -> list[envoy.HeaderValueOption]:
    """Write headers that take the place of any that the other side sent."""
    return [
        envoy.HeaderValueOption(
            header=envoy.HeaderValue(key=key, value=value),
            append_action=envoy.HeaderValueOption.APPEND_OVERWRITE_OR_ADD,
        )
        for key, value in values.items()
        if value
    ]
