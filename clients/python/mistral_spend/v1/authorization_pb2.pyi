import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Endpoint(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDPOINT_UNSPECIFIED: _ClassVar[Endpoint]
    ENDPOINT_CHAT: _ClassVar[Endpoint]
    ENDPOINT_FIM: _ClassVar[Endpoint]
    ENDPOINT_EMBEDDINGS: _ClassVar[Endpoint]
    ENDPOINT_OCR: _ClassVar[Endpoint]
    ENDPOINT_MODERATION: _ClassVar[Endpoint]
    ENDPOINT_TRANSCRIPTION: _ClassVar[Endpoint]
    ENDPOINT_SPEECH: _ClassVar[Endpoint]
    ENDPOINT_REALTIME: _ClassVar[Endpoint]

class Effect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_UNSPECIFIED: _ClassVar[Effect]
    EFFECT_ALLOW: _ClassVar[Effect]
    EFFECT_DENY: _ClassVar[Effect]

class Meter(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METER_UNSPECIFIED: _ClassVar[Meter]
    METER_REQUESTS: _ClassVar[Meter]
    METER_TOKENS: _ClassVar[Meter]
    METER_COST: _ClassVar[Meter]

class HoldState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOLD_STATE_UNSPECIFIED: _ClassVar[HoldState]
    HOLD_STATE_OPEN: _ClassVar[HoldState]
    HOLD_STATE_SETTLED: _ClassVar[HoldState]
    HOLD_STATE_RELEASED: _ClassVar[HoldState]
    HOLD_STATE_EXPIRED: _ClassVar[HoldState]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_OK: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
ENDPOINT_UNSPECIFIED: Endpoint
ENDPOINT_CHAT: Endpoint
ENDPOINT_FIM: Endpoint
ENDPOINT_EMBEDDINGS: Endpoint
ENDPOINT_OCR: Endpoint
ENDPOINT_MODERATION: Endpoint
ENDPOINT_TRANSCRIPTION: Endpoint
ENDPOINT_SPEECH: Endpoint
ENDPOINT_REALTIME: Endpoint
EFFECT_UNSPECIFIED: Effect
EFFECT_ALLOW: Effect
EFFECT_DENY: Effect
METER_UNSPECIFIED: Meter
METER_REQUESTS: Meter
METER_TOKENS: Meter
METER_COST: Meter
HOLD_STATE_UNSPECIFIED: HoldState
HOLD_STATE_OPEN: HoldState
HOLD_STATE_SETTLED: HoldState
HOLD_STATE_RELEASED: HoldState
HOLD_STATE_EXPIRED: HoldState
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_OK: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_CANCELLED: Outcome

class Principal(_message.Message):
    __slots__ = ("id", "role", "workspace", "key_id", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    role: str
    workspace: str
    key_id: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., role: _Optional[str] = ..., workspace: _Optional[str] = ..., key_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("input_tokens", "input_bytes", "max_output_tokens", "choices", "pages", "audio_seconds", "service_tier", "batch", "region", "characters", "annotated_pages", "tool_calls")
    class ToolCallsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    ANNOTATED_PAGES_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    input_bytes: int
    max_output_tokens: int
    choices: int
    pages: int
    audio_seconds: int
    service_tier: str
    batch: bool
    region: str
    characters: int
    annotated_pages: int
    tool_calls: _containers.ScalarMap[str, int]
    def __init__(self, input_tokens: _Optional[int] = ..., input_bytes: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., choices: _Optional[int] = ..., pages: _Optional[int] = ..., audio_seconds: _Optional[int] = ..., service_tier: _Optional[str] = ..., batch: _Optional[bool] = ..., region: _Optional[str] = ..., characters: _Optional[int] = ..., annotated_pages: _Optional[int] = ..., tool_calls: _Optional[_Mapping[str, int]] = ...) -> None: ...

class AuthorizeRequest(_message.Message):
    __slots__ = ("request_id", "principal", "model", "endpoint", "estimate", "dry_run", "hold_ttl")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    HOLD_TTL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    principal: Principal
    model: str
    endpoint: Endpoint
    estimate: Estimate
    dry_run: bool
    hold_ttl: _duration_pb2.Duration
    def __init__(self, request_id: _Optional[str] = ..., principal: _Optional[_Union[Principal, _Mapping]] = ..., model: _Optional[str] = ..., endpoint: _Optional[_Union[Endpoint, str]] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ..., dry_run: _Optional[bool] = ..., hold_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "message", "rule", "http_status")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    rule: str
    http_status: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., rule: _Optional[str] = ..., http_status: _Optional[int] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("rule", "meter", "scope", "window_start", "window_end", "ceiling", "spent", "held", "remaining", "unlimited", "as_of")
    RULE_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_FIELD_NUMBER: _ClassVar[int]
    WINDOW_END_FIELD_NUMBER: _ClassVar[int]
    CEILING_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    rule: str
    meter: Meter
    scope: str
    window_start: _timestamp_pb2.Timestamp
    window_end: _timestamp_pb2.Timestamp
    ceiling: int
    spent: int
    held: int
    remaining: int
    unlimited: bool
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, rule: _Optional[str] = ..., meter: _Optional[_Union[Meter, str]] = ..., scope: _Optional[str] = ..., window_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., window_end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ceiling: _Optional[int] = ..., spent: _Optional[int] = ..., held: _Optional[int] = ..., remaining: _Optional[int] = ..., unlimited: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AuthorizeResponse(_message.Message):
    __slots__ = ("request_id", "effect", "decision_id", "hold_id", "hold_expires_at", "reasons", "budgets", "retry_after", "resolved_model", "max_output_tokens", "held_cost_nano_usd", "policy_digest", "policy_generation", "asserted", "replayed", "hold_state", "warnings", "fitting_max_output_tokens", "fitting_models")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    HOLD_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HELD_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ASSERTED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    HOLD_STATE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FITTING_MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FITTING_MODELS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    effect: Effect
    decision_id: str
    hold_id: str
    hold_expires_at: _timestamp_pb2.Timestamp
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    retry_after: _duration_pb2.Duration
    resolved_model: str
    max_output_tokens: int
    held_cost_nano_usd: int
    policy_digest: str
    policy_generation: int
    asserted: _containers.RepeatedScalarFieldContainer[str]
    replayed: bool
    hold_state: HoldState
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    fitting_max_output_tokens: int
    fitting_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., decision_id: _Optional[str] = ..., hold_id: _Optional[str] = ..., hold_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resolved_model: _Optional[str] = ..., max_output_tokens: _Optional[int] = ..., held_cost_nano_usd: _Optional[int] = ..., policy_digest: _Optional[str] = ..., policy_generation: _Optional[int] = ..., asserted: _Optional[_Iterable[str]] = ..., replayed: _Optional[bool] = ..., hold_state: _Optional[_Union[HoldState, str]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., fitting_max_output_tokens: _Optional[int] = ..., fitting_models: _Optional[_Iterable[str]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "output_tokens", "cached_input_tokens", "pages", "audio_seconds", "service_tier", "characters", "annotated_pages", "tool_calls")
    class ToolCallsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    ANNOTATED_PAGES_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    pages: int
    audio_seconds: int
    service_tier: str
    characters: int
    annotated_pages: int
    tool_calls: _containers.ScalarMap[str, int]
    def __init__(self, input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cached_input_tokens: _Optional[int] = ..., pages: _Optional[int] = ..., audio_seconds: _Optional[int] = ..., service_tier: _Optional[str] = ..., characters: _Optional[int] = ..., annotated_pages: _Optional[int] = ..., tool_calls: _Optional[_Mapping[str, int]] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("hold_id", "usage", "usage_json", "response_model", "outcome")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    usage: Usage
    usage_json: str
    response_model: str
    outcome: Outcome
    def __init__(self, hold_id: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., usage_json: _Optional[str] = ..., response_model: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ("charged_cost_nano_usd", "charged_tokens", "overrun", "budgets", "unrecognized_usage")
    CHARGED_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CHARGED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    UNRECOGNIZED_USAGE_FIELD_NUMBER: _ClassVar[int]
    charged_cost_nano_usd: int
    charged_tokens: int
    overrun: bool
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    unrecognized_usage: bool
    def __init__(self, charged_cost_nano_usd: _Optional[int] = ..., charged_tokens: _Optional[int] = ..., overrun: _Optional[bool] = ..., budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., unrecognized_usage: _Optional[bool] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("hold_id", "reason")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    reason: str
    def __init__(self, hold_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("charged_cost_nano_usd", "charged_tokens", "budgets")
    CHARGED_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CHARGED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    charged_cost_nano_usd: int
    charged_tokens: int
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    def __init__(self, charged_cost_nano_usd: _Optional[int] = ..., charged_tokens: _Optional[int] = ..., budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ...) -> None: ...

class GetBudgetsRequest(_message.Message):
    __slots__ = ("principal", "model")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    principal: Principal
    model: str
    def __init__(self, principal: _Optional[_Union[Principal, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class GetBudgetsResponse(_message.Message):
    __slots__ = ("budgets", "reasons", "policy_digest", "policy_generation")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    policy_digest: str
    policy_generation: int
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., policy_digest: _Optional[str] = ..., policy_generation: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: AuthorizeRequest
    def __init__(self, request: _Optional[_Union[AuthorizeRequest, _Mapping]] = ...) -> None: ...

class ExplainedPart(_message.Message):
    __slots__ = ("text", "line", "column", "depth", "value")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    text: str
    line: int
    column: int
    depth: int
    value: str
    def __init__(self, text: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., depth: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...

class ExplainedRule(_message.Message):
    __slots__ = ("rule", "effect", "shadow", "value", "parts")
    RULE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    rule: str
    effect: str
    shadow: bool
    value: str
    parts: _containers.RepeatedCompositeFieldContainer[ExplainedPart]
    def __init__(self, rule: _Optional[str] = ..., effect: _Optional[str] = ..., shadow: _Optional[bool] = ..., value: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[ExplainedPart, _Mapping]]] = ...) -> None: ...

class ExplainedLimit(_message.Message):
    __slots__ = ("rule", "scope", "shadow", "demand", "fits", "arithmetic")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    ARITHMETIC_FIELD_NUMBER: _ClassVar[int]
    rule: str
    scope: str
    shadow: bool
    demand: int
    fits: bool
    arithmetic: str
    def __init__(self, rule: _Optional[str] = ..., scope: _Optional[str] = ..., shadow: _Optional[bool] = ..., demand: _Optional[int] = ..., fits: _Optional[bool] = ..., arithmetic: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("decision", "rules", "suggestions", "limits", "worst_case")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WORST_CASE_FIELD_NUMBER: _ClassVar[int]
    decision: AuthorizeResponse
    rules: _containers.RepeatedCompositeFieldContainer[ExplainedRule]
    suggestions: _containers.RepeatedScalarFieldContainer[str]
    limits: _containers.RepeatedCompositeFieldContainer[ExplainedLimit]
    worst_case: str
    def __init__(self, decision: _Optional[_Union[AuthorizeResponse, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[ExplainedRule, _Mapping]]] = ..., suggestions: _Optional[_Iterable[str]] = ..., limits: _Optional[_Iterable[_Union[ExplainedLimit, _Mapping]]] = ..., worst_case: _Optional[str] = ...) -> None: ...
