"""The policy input: the variables that a rule can read, and their values for one call."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.v1 import policy_input_pb2 as policy_pb

SPEND = "spend"
LISTS = "lists"
PRICE = "price"
MAX_COST = "max_cost_usd"
"""The field of a request with its worst-case cost."""
NOW = "now"
TODAY = "today"
"""The date of `now` in the time zone of the budgets, as in "2026-12-25"."""
UNLIMITED = "unlimited"


class Declaration(NamedTuple):
    """What is known of a variable before any call."""

    message: Any = None
    """The descriptor of its type, if that is a message."""
    from_data: bool = False
    """Its value comes from the data files alone."""
    of_the_model: bool = False
    """It may have another value where the same call is made to another model."""


DECLARED: Mapping[str, Declaration] = {
    "request": Declaration(policy_pb.Request.DESCRIPTOR, of_the_model=True),
    "principal": Declaration(pb.Principal.DESCRIPTOR),
    "role": Declaration(policy_pb.Role.DESCRIPTOR, from_data=True),
    "workspace": Declaration(policy_pb.Workspace.DESCRIPTOR, from_data=True),
    "model": Declaration(policy_pb.Model.DESCRIPTOR, from_data=True, of_the_model=True),
    "key": Declaration(policy_pb.Key.DESCRIPTOR, from_data=True),
    PRICE: Declaration(policy_pb.Price.DESCRIPTOR, of_the_model=True),
    SPEND: Declaration(of_the_model=True),
    LISTS: Declaration(from_data=True),
    NOW: Declaration(),
    TODAY: Declaration(),
    UNLIMITED: Declaration(from_data=True),
}

NAMES = frozenset(DECLARED)
MESSAGES: Mapping[str, Any] = {
    name: declared.message for name, declared in DECLARED.items() if declared.message is not None
}
FROM_DATA = frozenset(name for name, declared in DECLARED.items() if declared.from_data)
OF_THE_MODEL = frozenset(name for name, declared in DECLARED.items() if declared.of_the_model)

UNLIMITED_INT = 2**63 - 1
UNLIMITED_DOUBLE = float("inf")

NEVER = datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The `expires` of a key that never does: later than any time in the data files."""


def number_text(number: float) -> str:
    """Write a number for people: all its digits and no exponent, or `unlimited`.

    A double has 15 digits that are certain; more would show 0.1 + 0.2 as 0.30000000000000004.
    """
    if number in (UNLIMITED_INT, UNLIMITED_DOUBLE):
        return UNLIMITED
    if isinstance(number, int) or not math.isfinite(number):
        return str(number)
    return f"{Decimal(f'{number:.15g}'):f}"


def text_field(source: str) -> tuple[str, str] | None:
    """Return variable and field of an expression that is only a string field, else None."""
    variable, _, name = source.strip().partition(".")
    message = MESSAGES.get(variable)
    field = message.fields_by_name.get(name) if message is not None else None
    is_text = field is not None and not field.is_repeated and field.type == field.TYPE_STRING
    return (variable, name) if is_text else None


def no_key(key_id: str = "", state: str = "") -> policy_pb.Key:
    """Return the key of an unknown or missing key_id, without any restriction."""
    return policy_pb.Key(
        id=key_id,
        state=state,
        allowed_models=["*"],
        requests_per_minute=UNLIMITED_INT,
        expires=NEVER,
    )


NO_PRICE = policy_pb.Price()


@dataclass(frozen=True, slots=True)
class Values:
    """The values of all variables for one call, except `unlimited`, which is constant."""

    request: policy_pb.Request
    principal: pb.Principal
    role: policy_pb.Role
    workspace: policy_pb.Workspace
    model: policy_pb.Model
    key: policy_pb.Key
    now: datetime
    today: str
    spend: Mapping[str, policy_pb.Spend]
    price: policy_pb.Price = field(default_factory=policy_pb.Price)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)


def values_of(
    role: policy_pb.Role,
    workspace: policy_pb.Workspace,
    model: policy_pb.Model,
    lists: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Values:
    """Return the values of a call with only these entries."""
    now = datetime.now(UTC)
    return Values(
        request=policy_pb.Request(),
        principal=pb.Principal(),
        role=role,
        workspace=workspace,
        model=model,
        key=no_key(),
        now=now,
        today=now.date().isoformat(),
        spend={},
        lists=lists,
    )


def no_call() -> Values:
    """Return the values of a call without any entry, for expressions that read none."""
    return values_of(policy_pb.Role(), policy_pb.Workspace(), policy_pb.Model())
