import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sidecar.v1 import authorization_pb2 as _authorization_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyStatus(_message.Message):
    __slots__ = ("digest", "generation", "rules", "engine", "loaded_at", "stale_since", "problems", "summary")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    LOADED_AT_FIELD_NUMBER: _ClassVar[int]
    STALE_SINCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    digest: str
    generation: int
    rules: int
    engine: str
    loaded_at: _timestamp_pb2.Timestamp
    stale_since: _timestamp_pb2.Timestamp
    problems: _containers.RepeatedScalarFieldContainer[str]
    summary: str
    def __init__(self, digest: _Optional[str] = ..., generation: _Optional[int] = ..., rules: _Optional[int] = ..., engine: _Optional[str] = ..., loaded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stale_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problems: _Optional[_Iterable[str]] = ..., summary: _Optional[str] = ...) -> None: ...

class LedgerStatus(_message.Message):
    __slots__ = ("open_holds", "time", "ahead_of_clock_us", "file_bytes", "wal_bytes", "disk_free_bytes", "readers", "denials", "dropped_denials")
    OPEN_HOLDS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    AHEAD_OF_CLOCK_US_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_DENIALS_FIELD_NUMBER: _ClassVar[int]
    open_holds: int
    time: _timestamp_pb2.Timestamp
    ahead_of_clock_us: int
    file_bytes: int
    wal_bytes: int
    disk_free_bytes: int
    readers: _containers.RepeatedScalarFieldContainer[str]
    denials: int
    dropped_denials: int
    def __init__(self, open_holds: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ahead_of_clock_us: _Optional[int] = ..., file_bytes: _Optional[int] = ..., wal_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., readers: _Optional[_Iterable[str]] = ..., denials: _Optional[int] = ..., dropped_denials: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("policies", "ledger", "not_ready")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_FIELD_NUMBER: _ClassVar[int]
    policies: PolicyStatus
    ledger: LedgerStatus
    not_ready: str
    def __init__(self, policies: _Optional[_Union[PolicyStatus, _Mapping]] = ..., ledger: _Optional[_Union[LedgerStatus, _Mapping]] = ..., not_ready: _Optional[str] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: PolicyStatus
    def __init__(self, policies: _Optional[_Union[PolicyStatus, _Mapping]] = ...) -> None: ...

class AdjustRequest(_message.Message):
    __slots__ = ("rule", "scope", "amount", "signed_by", "reason", "new_budget")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NEW_BUDGET_FIELD_NUMBER: _ClassVar[int]
    rule: str
    scope: str
    amount: str
    signed_by: str
    reason: str
    new_budget: bool
    def __init__(self, rule: _Optional[str] = ..., scope: _Optional[str] = ..., amount: _Optional[str] = ..., signed_by: _Optional[str] = ..., reason: _Optional[str] = ..., new_budget: _Optional[bool] = ...) -> None: ...

class AdjustResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: _authorization_pb2.Budget
    def __init__(self, budget: _Optional[_Union[_authorization_pb2.Budget, _Mapping]] = ...) -> None: ...

class OpenHold(_message.Message):
    __slots__ = ("hold_id", "expires_at", "principal", "workspace", "model", "held_tokens", "held_cost_nano_usd")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HELD_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HELD_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    expires_at: _timestamp_pb2.Timestamp
    principal: str
    workspace: str
    model: str
    held_tokens: int
    held_cost_nano_usd: int
    def __init__(self, hold_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal: _Optional[str] = ..., workspace: _Optional[str] = ..., model: _Optional[str] = ..., held_tokens: _Optional[int] = ..., held_cost_nano_usd: _Optional[int] = ...) -> None: ...

class ListHoldsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHoldsResponse(_message.Message):
    __slots__ = ("holds", "next_page_token")
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    holds: _containers.RepeatedCompositeFieldContainer[OpenHold]
    next_page_token: str
    def __init__(self, holds: _Optional[_Iterable[_Union[OpenHold, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ReleaseHoldRequest(_message.Message):
    __slots__ = ("hold_id", "signed_by", "reason")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    signed_by: str
    reason: str
    def __init__(self, hold_id: _Optional[str] = ..., signed_by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseHoldResponse(_message.Message):
    __slots__ = ("charged_cost_nano_usd", "charged_tokens")
    CHARGED_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CHARGED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    charged_cost_nano_usd: int
    charged_tokens: int
    def __init__(self, charged_cost_nano_usd: _Optional[int] = ..., charged_tokens: _Optional[int] = ...) -> None: ...
