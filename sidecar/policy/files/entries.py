"""The entries of data files: models, roles, workspaces and keys, with their fields."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sidecar.policy.files.values import (
    Budget,
    CountOrNone,
    Discount,
    Endpoints,
    Factor,
    Instant,
    KeyId,
    Labels,
    Name,
    Names,
    Texts,
    Tool,
    Usd,
    Words,
)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceEntry(_Entry):
    """A model's prices from a date on; `source` names where they are published.

    Without a price of its own, cached input costs `multipliers.cached_input` times input.
    """

    effective_from: Instant
    input_usd_per_million_tokens: Usd | None = None
    cached_input_usd_per_million_tokens: Usd | None = None
    output_usd_per_million_tokens: Usd | None = None
    usd_per_thousand_pages: Usd | None = None
    usd_per_thousand_annotated_pages: Usd | None = None
    usd_per_minute_of_audio: Usd | None = None
    usd_per_million_characters: Usd | None = None
    usd_per_thousand_calls: Mapping[Tool, Usd] = {}
    source: Words = ""


class ModelEntry(_Entry):
    """A model; allow-lists may name it by id, alias or family.

    A request without an endpoint calls chat, or the first of `endpoints` if these are
    without CHAT.
    """

    family: Name
    aliases: Names = ()
    endpoints: Endpoints = ()
    prices: tuple[PriceEntry, ...] = ()
    retires_on: Instant | None = None
    """From when on it is denied; answers warn before."""
    replaced_by: Name | None = None
    labels: Labels = {}


class MultipliersEntry(_Entry):
    """Factors on list prices. Cached input is at most 1, since holds assume none is cached."""

    cached_input: Discount = 1
    batch: Factor = 1
    service_tiers: Mapping[Name, Factor] = {}
    regions: Mapping[Name, Factor] = {}


class RoleEntry(_Entry):
    """What principals with a role may do. None is unlimited."""

    allowed_models: Names
    max_tokens_per_request: CountOrNone
    daily_token_budget: CountOrNone
    labels: Labels = {}


class ServiceEntry(_Entry):
    """A service of a workspace."""

    allowed_models: Names


class WorkspaceEntry(_Entry):
    """What a workspace may do and spend. None is unlimited."""

    team: Words = ""
    allowed_models: Names
    requests_per_minute: CountOrNone
    monthly_budget_usd: Budget
    services: Mapping[Name, ServiceEntry] = {}
    labels: Labels = {}


class KeyEntry(_Entry):
    """A Mistral API key, by its id, never its secret. None is unlimited, or never expires."""

    workspace: Name
    name: Words = ""
    description: Words = ""
    owner: Words = ""
    allowed_models: Names = ("*",)
    requests_per_minute: CountOrNone = None
    created: Instant | None = None
    expires: Instant | None = None
    state: Literal["active", "revoked"] = "active"
    labels: Labels = {}


class DataFile(_Entry):
    """The content of one data file."""

    lists: Mapping[Name, Texts] = {}

    models: Mapping[Name, ModelEntry] = {}
    multipliers: MultipliersEntry | None = None
    roles: Mapping[Name, RoleEntry] = {}
    workspaces: Mapping[Name, WorkspaceEntry] = {}
    keys: Mapping[KeyId, KeyEntry] = {}
