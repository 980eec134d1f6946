import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Request(_message.Message):
    __slots__ = ("model", "endpoint", "input_tokens", "max_output_tokens", "choices", "tokens", "pages", "audio_seconds", "service_tier", "batch", "region", "characters", "annotated_pages", "tool_calls", "max_cost_usd")
    class ToolCallsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    ANNOTATED_PAGES_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    model: str
    endpoint: str
    input_tokens: int
    max_output_tokens: int
    choices: int
    tokens: int
    pages: int
    audio_seconds: int
    service_tier: str
    batch: bool
    region: str
    characters: int
    annotated_pages: int
    tool_calls: _containers.ScalarMap[str, int]
    max_cost_usd: float
    def __init__(self, model: _Optional[str] = ..., endpoint: _Optional[str] = ..., input_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., choices: _Optional[int] = ..., tokens: _Optional[int] = ..., pages: _Optional[int] = ..., audio_seconds: _Optional[int] = ..., service_tier: _Optional[str] = ..., batch: _Optional[bool] = ..., region: _Optional[str] = ..., characters: _Optional[int] = ..., annotated_pages: _Optional[int] = ..., tool_calls: _Optional[_Mapping[str, int]] = ..., max_cost_usd: _Optional[float] = ...) -> None: ...

class Role(_message.Message):
    __slots__ = ("name", "allowed_models", "max_tokens_per_request", "daily_token_budget", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    DAILY_TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    max_tokens_per_request: int
    daily_token_budget: int
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., allowed_models: _Optional[_Iterable[str]] = ..., max_tokens_per_request: _Optional[int] = ..., daily_token_budget: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Workspace(_message.Message):
    __slots__ = ("name", "team", "allowed_models", "requests_per_minute", "monthly_budget_usd", "services", "labels")
    class ServicesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Service
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Service, _Mapping]] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_BUDGET_USD_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    team: str
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    requests_per_minute: int
    monthly_budget_usd: float
    services: _containers.MessageMap[str, Service]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., team: _Optional[str] = ..., allowed_models: _Optional[_Iterable[str]] = ..., requests_per_minute: _Optional[int] = ..., monthly_budget_usd: _Optional[float] = ..., services: _Optional[_Mapping[str, Service]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("allowed_models",)
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allowed_models: _Optional[_Iterable[str]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("id", "aliases", "family", "names", "labels", "endpoints", "retires_on", "replaced_by")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    RETIRES_ON_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    family: str
    names: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    endpoints: _containers.RepeatedScalarFieldContainer[str]
    retires_on: _timestamp_pb2.Timestamp
    replaced_by: str
    def __init__(self, id: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., family: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., endpoints: _Optional[_Iterable[str]] = ..., retires_on: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replaced_by: _Optional[str] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("id", "workspace", "state", "labels", "name", "description", "owner", "allowed_models", "requests_per_minute", "created", "expires")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    id: str
    workspace: str
    state: str
    labels: _containers.ScalarMap[str, str]
    name: str
    description: str
    owner: str
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    requests_per_minute: int
    created: _timestamp_pb2.Timestamp
    expires: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., workspace: _Optional[str] = ..., state: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., owner: _Optional[str] = ..., allowed_models: _Optional[_Iterable[str]] = ..., requests_per_minute: _Optional[int] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("effective_from", "input_usd_per_million_tokens", "cached_input_usd_per_million_tokens", "output_usd_per_million_tokens", "usd_per_thousand_pages", "usd_per_thousand_annotated_pages", "usd_per_minute_of_audio", "usd_per_million_characters")
    EFFECTIVE_FROM_FIELD_NUMBER: _ClassVar[int]
    INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    USD_PER_THOUSAND_PAGES_FIELD_NUMBER: _ClassVar[int]
    USD_PER_THOUSAND_ANNOTATED_PAGES_FIELD_NUMBER: _ClassVar[int]
    USD_PER_MINUTE_OF_AUDIO_FIELD_NUMBER: _ClassVar[int]
    USD_PER_MILLION_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    effective_from: _timestamp_pb2.Timestamp
    input_usd_per_million_tokens: float
    cached_input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    usd_per_thousand_pages: float
    usd_per_thousand_annotated_pages: float
    usd_per_minute_of_audio: float
    usd_per_million_characters: float
    def __init__(self, effective_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., input_usd_per_million_tokens: _Optional[float] = ..., cached_input_usd_per_million_tokens: _Optional[float] = ..., output_usd_per_million_tokens: _Optional[float] = ..., usd_per_thousand_pages: _Optional[float] = ..., usd_per_thousand_annotated_pages: _Optional[float] = ..., usd_per_minute_of_audio: _Optional[float] = ..., usd_per_million_characters: _Optional[float] = ...) -> None: ...

class Spend(_message.Message):
    __slots__ = ("used", "ceiling", "fraction")
    USED_FIELD_NUMBER: _ClassVar[int]
    CEILING_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    used: int
    ceiling: int
    fraction: float
    def __init__(self, used: _Optional[int] = ..., ceiling: _Optional[int] = ..., fraction: _Optional[float] = ...) -> None: ...
