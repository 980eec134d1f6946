"""The catalogue: the data files' entries, prepared for evaluation and looked up by name."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from google.protobuf.message import Message

from sidecar.domain.clock import to_datetime
from sidecar.domain.keys import VERSION_MARK, KeyName
from sidecar.domain.money import NANO_USD_PER_USD, nano_usd
from sidecar.domain.prices import Multipliers, Price, Tariff
from sidecar.domain.retirement import Retirement
from sidecar.domain.usage import Endpoint
from sidecar.policy.cel.variables import NEVER, UNLIMITED_DOUBLE, UNLIMITED_INT, no_key
from sidecar.policy.files import entries
from sidecar.policy.files.data import Data
from sidecar.v1 import policy_input_pb2 as policy_pb

UNKNOWN_KEY = "unknown"
"""The state of a key without an entry."""

_NO_KEY = no_key()


@dataclass(frozen=True, slots=True)
class Role:
    """A role. A `max_tokens_per_request` of None is unlimited."""

    message: policy_pb.Role
    max_tokens_per_request: int | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its tariffs, oldest first."""

    message: policy_pb.Model
    tariffs: tuple[Tariff, ...]
    endpoint: Endpoint = Endpoint.CHAT
    """The endpoint of a request that sets none."""
    retirement: Retirement | None = None

    def tariff(self, at_us: int) -> Tariff | None:
        """Return the tariff in force at a time, None before the first."""
        index = bisect_right(self.tariffs, at_us, key=lambda t: t.price.effective_from_us)
        return self.tariffs[index - 1] if index else None


class Catalogue:
    """Looks up roles, workspaces, models and keys by the names in requests."""

    def __init__(self, data: Data) -> None:
        """Prepare every entry."""
        multipliers = Multipliers(
            cached_input=data.multipliers.cached_input,
            batch=data.multipliers.batch,
            service_tiers=dict(data.multipliers.service_tiers),
            regions=dict(data.multipliers.regions),
        )
        self.roles = {name: _role(name, entry) for name, entry in data.roles.items()}
        self.workspaces = {name: _workspace(name, entry) for name, entry in data.workspaces.items()}
        models = {name: _model(name, entry, multipliers) for name, entry in data.models.items()}
        self.models = {name: models[model_id] for name, model_id in data.names.items()}
        self.keys = {key_id: _key(key_id, entry) for key_id, entry in data.keys.items()}
        self.lists = {name: list(texts) for name, texts in data.lists.items()}
        """Lists, not tuples, since cel-cpp reads no tuples."""

    @property
    def has_entries(self) -> bool:
        """Whether there is a role, a workspace and a model: without them, no call is evaluated."""
        return bool(self.roles and self.workspaces and self.models)

    def messages(self) -> Iterator[Message]:
        """Yield every entry that rules can read."""
        yield from (role.message for role in self.roles.values())
        yield from self.workspaces.values()
        yield from (model.message for model in self.models.values())
        yield from self.keys.values()

    def endpoint(self, model_name: str) -> Endpoint:
        """Return the endpoint of a request for this model that sets none."""
        model = self.models.get(model_name)
        return Endpoint.CHAT if model is None else model.endpoint

    def key(self, key_id: str) -> policy_pb.Key:
        """Return a key by its id, or by KEY#VERSION.

        A key without an entry has the state "unknown"; an empty id has the state "".
        """
        known = self.keys.get(key_id)
        if known is None and VERSION_MARK in key_id:
            name = KeyName.parse(key_id)
            known = None if name is None else self.keys.get(name.key)
        if known is not None:
            return known
        return no_key(key_id, UNKNOWN_KEY) if key_id else _NO_KEY


def _role(name: str, entry: entries.RoleEntry) -> Role:
    message = policy_pb.Role(
        name=name,
        allowed_models=entry.allowed_models,
        max_tokens_per_request=_int(entry.max_tokens_per_request),
        daily_token_budget=_int(entry.daily_token_budget),
        labels=entry.labels,
    )
    return Role(message, entry.max_tokens_per_request)


def _workspace(name: str, entry: entries.WorkspaceEntry) -> policy_pb.Workspace:
    budget = entry.monthly_budget_usd
    return policy_pb.Workspace(
        name=name,
        team=entry.team,
        allowed_models=entry.allowed_models,
        requests_per_minute=_int(entry.requests_per_minute),
        monthly_budget_usd=UNLIMITED_DOUBLE if budget is None else float(budget),
        services={
            service: policy_pb.Service(allowed_models=one.allowed_models)
            for service, one in entry.services.items()
        },
        labels=entry.labels,
    )


def _key(key_id: str, entry: entries.KeyEntry) -> policy_pb.Key:
    return policy_pb.Key(
        id=key_id,
        workspace=entry.workspace,
        state=entry.state,
        labels=entry.labels,
        name=entry.name,
        description=entry.description,
        owner=entry.owner,
        allowed_models=entry.allowed_models,
        requests_per_minute=_int(entry.requests_per_minute),
        created=None if entry.created is None else to_datetime(entry.created),
        expires=NEVER if entry.expires is None else to_datetime(entry.expires),
    )


def _model(model_id: str, entry: entries.ModelEntry, multipliers: Multipliers) -> Model:
    message = policy_pb.Model(
        id=model_id,
        aliases=entry.aliases,
        family=entry.family,
        names=sorted({model_id, *entry.aliases, entry.family}),
        labels=entry.labels,
        endpoints=entry.endpoints,
        retires_on=NEVER if entry.retires_on is None else to_datetime(entry.retires_on),
        replaced_by=entry.replaced_by,
    )
    prices = sorted(entry.prices, key=lambda price: price.effective_from)
    tariffs = tuple(Tariff(_price(model_id, price), multipliers) for price in prices)
    chat = not entry.endpoints or Endpoint.CHAT in entry.endpoints
    endpoint = Endpoint.CHAT if chat else Endpoint(entry.endpoints[0])
    retirement = (
        None
        if entry.retires_on is None
        else Retirement(model_id, entry.retires_on, entry.replaced_by or "")
    )
    return Model(message, tariffs, endpoint, retirement)


def _price(model_id: str, entry: entries.PriceEntry) -> Price:
    since = to_datetime(entry.effective_from)
    day = since.date().isoformat() if since.time().isoformat() == "00:00:00" else since.isoformat()
    return Price(
        price_id=f"{model_id}@{day}",
        effective_from_us=entry.effective_from,
        input_nano_usd_per_million=_nano(entry.input_usd_per_million_tokens),
        output_nano_usd_per_million=_nano(entry.output_usd_per_million_tokens),
        page_nano_usd_per_thousand=_nano(entry.usd_per_thousand_pages),
        audio_nano_usd_per_minute=_nano(entry.usd_per_minute_of_audio),
        cached_input_nano_usd_per_million=_nano(entry.cached_input_usd_per_million_tokens),
        annotated_page_nano_usd_per_thousand=_nano(entry.usd_per_thousand_annotated_pages),
        character_nano_usd_per_million=_nano(entry.usd_per_million_characters),
        tool_call_nano_usd_per_thousand={
            tool: nano_usd(usd) for tool, usd in entry.usd_per_thousand_calls.items()
        },
    )


def _nano(usd: Decimal | None) -> int | None:
    return None if usd is None else nano_usd(usd)


def _int(count: int | None) -> int:
    return UNLIMITED_INT if count is None else count


def price_message(price: Price) -> policy_pb.Price:
    """Return a price as rules read it, in USD."""
    message = policy_pb.Price(
        input_usd_per_million_tokens=_usd(price.input_nano_usd_per_million),
        cached_input_usd_per_million_tokens=_usd(price.cached_input_nano_usd_per_million),
        output_usd_per_million_tokens=_usd(price.output_nano_usd_per_million),
        usd_per_thousand_pages=_usd(price.page_nano_usd_per_thousand),
        usd_per_thousand_annotated_pages=_usd(price.annotated_page_nano_usd_per_thousand),
        usd_per_minute_of_audio=_usd(price.audio_nano_usd_per_minute),
        usd_per_million_characters=_usd(price.character_nano_usd_per_million),
    )
    message.effective_from.FromMicroseconds(price.effective_from_us)
    return message


def _usd(price_nano_usd: int | None) -> float:
    return (price_nano_usd or 0) / NANO_USD_PER_USD
