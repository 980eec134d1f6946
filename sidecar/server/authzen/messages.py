"""Messages of AuthZEN's Authorization API 1.0, translated to Authorize and back.

https://openid.net/specs/authorization-api-1_0.html. The subject is the principal, the
resource the model, the action's name the endpoint; the context has the estimate. Unknown
members are ignored, as the specification asks, except in the estimate, where a misspelled
name would make a call look smaller.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.contract.validation import InvalidFieldError
from sidecar.server.errors import RefusedError
from sidecar.server.strict_json import member

MAX_EVALUATIONS = 32
"""Of one request; each may wait for the disk."""

ACTIONS = {
    "chat": pb.ENDPOINT_CHAT,
    "fim": pb.ENDPOINT_FIM,
    "embeddings": pb.ENDPOINT_EMBEDDINGS,
    "ocr": pb.ENDPOINT_OCR,
    "moderation": pb.ENDPOINT_MODERATION,
    "transcription": pb.ENDPOINT_TRANSCRIPTION,
    "speech": pb.ENDPOINT_SPEECH,
    "realtime": pb.ENDPOINT_REALTIME,
}
RESOURCE_TYPE = "model"

_ENTITIES = ("subject", "action", "resource")
_KINDS = {
    FieldDescriptor.TYPE_INT64: int,
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
}
_MAX_INT64 = 2**63 - 1


class Semantic(StrEnum):
    """When a batch of evaluations stops early."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    def ends_with(self, decision: object) -> bool:
        """Whether nothing after this decision is evaluated."""
        return (self is Semantic.DENY_ON_FIRST_DENY and not decision) or (
            self is Semantic.PERMIT_ON_FIRST_PERMIT and bool(decision)
        )


class Batch(NamedTuple):
    """Evaluations in order, each with the request's defaults filled in."""

    evaluations: list[dict[str, Any]]
    semantic: Semantic


def batch(body: dict[str, Any]) -> Batch | None:
    """Return a request's evaluations; None if the request is itself a single one.

    Raises RefusedError for what is wrong with the request as a whole.
    """
    options = member(body, "options", dict) or {}
    wanted = member(options, "evaluations_semantic", str, "options.")
    try:
        semantic = Semantic(wanted or Semantic.EXECUTE_ALL)
    except ValueError:
        raise InvalidFieldError(
            "options.evaluations_semantic", f"is not one of {_SEMANTICS}"
        ) from None
    evaluations = member(body, "evaluations", list)
    if not evaluations:
        return None
    if len(evaluations) > MAX_EVALUATIONS:
        raise InvalidFieldError("evaluations", f"has more than {MAX_EVALUATIONS} entries")
    defaults = {key: body[key] for key in (*_ENTITIES, "context") if key in body}
    if not all(isinstance(one, dict) for one in evaluations):
        raise InvalidFieldError("evaluations", "has an entry that is not an object")
    return Batch([{**defaults, **one} for one in evaluations], semantic)


def authorize_request(evaluation: dict[str, Any]) -> pb.AuthorizeRequest:
    """Translate an evaluation into a request. Raises RefusedError or InvalidFieldError.

    It is a dry run unless the context has `"hold": true`: other AuthZEN clients do not
    know that a hold has to be settled.
    """
    subject, action, resource = (_required(evaluation, key, dict) for key in _ENTITIES)
    _required(subject, "type", str, "subject.")
    properties = member(subject, "properties", dict, "subject.") or {}
    context = member(evaluation, "context", dict) or {}
    kind = _required(resource, "type", str, "resource.")
    name = _required(action, "name", str, "action.")
    request = pb.AuthorizeRequest(
        request_id=_text(context, "request_id", "context."),
        principal=pb.Principal(
            id=_printable(_required(subject, "id", str, "subject."), "subject.id"),
            role=_text(properties, "role", "subject.properties."),
            workspace=_text(properties, "workspace", "subject.properties."),
            key_id=_text(properties, "key_id", "subject.properties."),
            labels=_labels(properties),
        ),
        model=_printable(_required(resource, "id", str, "resource."), "resource.id"),
        estimate=_estimate(context),
        dry_run=not member(context, "hold", bool, "context."),
    )
    ttl_seconds = member(context, "hold_ttl_seconds", int, "context.")
    if ttl_seconds is not None:
        if not 0 < ttl_seconds <= _MAX_TTL_SECONDS:
            raise InvalidFieldError(
                "context.hold_ttl_seconds", f"is not from 1 to {_MAX_TTL_SECONDS}"
            )
        request.hold_ttl.FromSeconds(ttl_seconds)
    if kind != RESOURCE_TYPE:
        raise RefusedError("RESOURCE_TYPE_UNKNOWN", f"resource.type is not {RESOURCE_TYPE}", 404)
    if name not in ACTIONS:
        raise RefusedError("ACTION_UNKNOWN", f"action.name is not one of {', '.join(ACTIONS)}", 404)
    request.endpoint = ACTIONS[name]
    return request


_SEMANTICS = ", ".join(Semantic)
_MAX_TTL_SECONDS = 86_400


def decision(response: pb.AuthorizeResponse) -> dict[str, Any]:
    """Write a decision; its context has every other field of the response."""
    context: dict[str, Any] = {
        "request_id": response.request_id,
        "decision_id": response.decision_id,
        "hold_id": response.hold_id,
        "hold_expires_at": _time(response, "hold_expires_at"),
        "reasons": [
            {"code": r.code, "message": r.message, "rule": r.rule, "http_status": r.http_status}
            for r in response.reasons
        ],
        "budgets": [_budget(budget) for budget in response.budgets],
        "retry_after_seconds": -(-response.retry_after.ToNanoseconds() // 10**9),
        "resolved_model": response.resolved_model,
        "max_output_tokens": response.max_output_tokens,
        "held_cost_nano_usd": response.held_cost_nano_usd,
        "policy_digest": response.policy_digest,
        "policy_generation": response.policy_generation,
        "asserted": list(response.asserted),
        "replayed": response.replayed,
        "hold_state": _HOLD_STATES[response.hold_state],
        "fitting_max_output_tokens": response.fitting_max_output_tokens,
        "fitting_models": list(response.fitting_models),
        "warnings": [{"code": each.code, "message": each.message} for each in response.warnings],
    }
    allowed = response.effect == pb.EFFECT_ALLOW
    if allowed and response.replayed and response.hold_state != pb.HOLD_STATE_OPEN:
        context["reasons"] = [_hold_closed(context["hold_state"])]
        allowed = False
    return {"decision": allowed, "context": context}


_HOLD_STATES = {
    number: name.removeprefix("HOLD_STATE_").lower() if number else ""
    for name, number in pb.HoldState.items()
}


def _hold_closed(state: str) -> dict[str, Any]:
    """Return the reason why a replayed Allow is now denied: AuthZEN has no other way to say it."""
    message = f"this request_id was decided before, and its hold is {state}: use a new one"
    return {"code": "HOLD_CLOSED", "message": message, "rule": "", "http_status": 409}


def failure(code: str, message: str, http_status: int) -> dict[str, Any]:
    """Write the error of one evaluation of a batch, which denies it."""
    error = {"status": http_status, "code": code, "message": message}
    return {"decision": False, "context": {"error": error}}


def metadata(url: str) -> Mapping[str, str]:
    """Write the metadata document: the URLs of the supported endpoints."""
    return {
        "policy_decision_point": url,
        "access_evaluation_endpoint": f"{url}{EVALUATION}",
        "access_evaluations_endpoint": f"{url}{EVALUATIONS}",
    }


EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"


def _required(entity: dict[str, Any], name: str, kind: type, path: str = "") -> Any:
    value = member(entity, name, kind, path)
    if value is None:
        raise InvalidFieldError(path + name, "is missing")
    return value


def _text(entity: dict[str, Any], name: str, path: str) -> str:
    return _printable(member(entity, name, str, path) or "", path + name)


def _printable(text: str, field: str) -> str:
    if not text.isprintable():  # half a surrogate pair, for example
        raise InvalidFieldError(field, "has characters that cannot be printed")
    return text


def _labels(properties: dict[str, Any]) -> dict[str, str]:
    labels = member(properties, "labels", dict, "subject.properties.") or {}
    for key in labels:
        _printable(key, "subject.properties.labels")
    return {key: _text(labels, key, "subject.properties.labels.") for key in labels}


_FIELDS: dict[str, Any] = dict(pb.Estimate.DESCRIPTOR.fields_by_name)
"""A dict, since protobuf's own mapping raises an error for a name that is no UTF-8."""


def _estimate(context: dict[str, Any]) -> pb.Estimate:
    """Read the contract's Estimate, by its field names."""
    estimate = member(context, "estimate", dict, "context.") or {}
    if "input_tokens" in estimate and "input_bytes" in estimate:
        raise InvalidFieldError("context.estimate", "has both input_tokens and input_bytes")
    read = pb.Estimate()
    for name in estimate:
        if name not in _FIELDS:
            raise InvalidFieldError(
                "context.estimate", f"has a field that is not one of {', '.join(_FIELDS)}"
            )
        kind = _KINDS.get(_FIELDS[name].type, dict)  # the only other field is a map
        value = member(estimate, name, kind, "context.estimate.")
        if kind is dict:
            read.tool_calls.update(_tool_calls(value or {}))
            continue
        if isinstance(value, str):
            _printable(value, f"context.estimate.{name}")
        elif isinstance(value, int) and abs(value) > _MAX_INT64:
            raise InvalidFieldError(f"context.estimate.{name}", "is too large")
        if value is not None:
            setattr(read, name, value)
    return read


def _tool_calls(calls: dict[str, Any]) -> dict[str, int]:
    field = "context.estimate.tool_calls"
    for tool in calls:
        _printable(tool, field)
        if abs(_required(calls, tool, int, f"{field}.")) > _MAX_INT64:
            raise InvalidFieldError(f"{field}.{tool}", "is too large")
    return calls


def _budget(budget: pb.Budget) -> dict[str, Any]:
    return {
        "rule": budget.rule,
        "meter": pb.Meter.Name(budget.meter).removeprefix("METER_").lower(),
        "scope": budget.scope,
        "window_start": _time(budget, "window_start"),
        "window_end": _time(budget, "window_end"),
        **{name: getattr(budget, name) for name in ("ceiling", "spent", "held", "remaining")},
        "unlimited": budget.unlimited,
    }


def _time(message: pb.AuthorizeResponse | pb.Budget, name: str) -> str | None:
    return getattr(message, name).ToJsonString() if message.HasField(name) else None
