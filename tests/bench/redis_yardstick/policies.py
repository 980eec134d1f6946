"""The shipped rules as `if` statements, on the data files of `policies/`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from mistral_spend.v1 import authorization_pb2 as pb

UNLIMITED = -1
NANO_USD = 10**9


@dataclass
class Limit:
    """A budget that a call takes from. The ceiling is -1 if there is none; times are in seconds."""

    rule: str
    reason: str
    meter: str
    scope: str
    ceiling: int
    takes: int
    start: int
    end: int

    @property
    def key(self) -> str:
        """The name of its row."""
        return f"budget:{self.rule}:{self.scope}:{self.start}"


class Policies:
    """The data files, and the rules."""

    def __init__(self, folder: Path) -> None:
        """Read the files."""

        def read(kind: str) -> dict[str, Any]:
            return dict(yaml.safe_load((folder / f"{kind}.yaml").read_text())[kind])

        self.roles, self.workspaces, self.keys = read("roles"), read("workspaces"), read("keys")
        self.models: dict[str, dict[str, Any]] = {}
        for id_, model in read("models").items():
            names = {id_, model["family"], *model.get("aliases", ())}
            for name in names - {model["family"]}:
                self.models[name] = {**model, "id": id_, "names": names}
        last = (folder / "hourly-spending-guard.cel").read_text().splitlines()[-1]
        self.hourly_usd = float(last)

    def reasons(self, request: pb.AuthorizeRequest, today: date) -> list[pb.Reason]:
        """Return why the call is denied; empty if all rules allow it."""
        if found := [*self._unknown(request)]:
            return found
        names: set[str] = self.models[request.model]["names"]
        return [
            *self._who_may(request.principal),
            *self._keys(request.principal, names, today),
            *self._models_and_size(request, names),
        ]

    def _unknown(self, request: pb.AuthorizeRequest) -> Iterator[pb.Reason]:
        who = request.principal
        if who.role not in self.roles:
            yield _reason("ROLE_UNKNOWN", "", 403, f"no role named {who.role}")
        if who.workspace not in self.workspaces:
            yield _reason("WORKSPACE_UNKNOWN", "", 403, f"no workspace named {who.workspace}")
        if request.model not in self.models:
            yield _reason("MODEL_UNKNOWN", "", 403, f"no model named {request.model}")

    def _who_may(self, who: pb.Principal) -> Iterator[pb.Reason]:
        if who.workspace == "dev-workspace":
            return
        if who.workspace == "ml-workspace" and (
            who.role == "admin" or who.labels.get("team") == "ml"
        ):
            return
        services = self.workspaces[who.workspace].get("services", {})
        if who.workspace == "prod-workspace" and who.labels.get("service") in services:
            return
        yield _reason("NO_RULE_ALLOWS", "", 403, "no rule allows this call")

    def _keys(self, who: pb.Principal, names: set[str], today: date) -> Iterator[pb.Reason]:
        if not who.key_id:
            return
        key = self.keys.get(who.key_id)
        if key is None:
            yield _reason("KEY_UNKNOWN", "key-unknown", 401, f"key {who.key_id} is not known")
            return
        if today >= key.get("expires", date.max):
            yield _reason("KEY_EXPIRED", "key-expired", 401, f"key {who.key_id} has expired")
        if not _may(key, names):
            yield _reason("KEY_MODEL_NOT_ALLOWED", "key-models", 403, f"not with {who.key_id}")
        if key.get("state") == "revoked":
            yield _reason("KEY_REVOKED", "key-revoked", 401, f"key {who.key_id} is revoked")
        if key["workspace"] != who.workspace:
            yield _reason("KEY_OF_OTHER_WORKSPACE", "key-workspace", 401, "of another workspace")

    def _models_and_size(
        self, request: pb.AuthorizeRequest, names: set[str]
    ) -> Iterator[pb.Reason]:
        who, size = request.principal, request.estimate
        role, workspace = self.roles[who.role], self.workspaces[who.workspace]
        if not _may(role, names):
            yield _reason("MODEL_NOT_ALLOWED", "role-models", 403, f"not for role {who.role}")
        tokens = size.input_tokens + size.max_output_tokens
        if tokens > role["max_tokens_per_request"]:
            yield _reason("REQUEST_TOO_LARGE", "role-request-size", 403, f"{tokens} tokens")
        service = workspace.get("services", {}).get(who.labels.get("service"))
        if service is not None and not _may(service, names):
            yield _reason("MODEL_NOT_ALLOWED", "service-models", 403, "not for this service")
        if not _may(workspace, names):
            yield _reason("MODEL_NOT_ALLOWED", "workspace-models", 403, f"not in {who.workspace}")

    def prices(self, model: str, today: date) -> tuple[int, int]:
        """Return the price of a token of input and of output, in nano-USD."""
        prices = reversed(self.models[model]["prices"])
        price = next(one for one in prices if one["effective_from"] <= today)
        return (
            round(price["input_usd_per_million_tokens"] * NANO_USD / 10**6),
            round(price["output_usd_per_million_tokens"] * NANO_USD / 10**6),
        )

    def limits(self, request: pb.AuthorizeRequest, cost: int, now: datetime) -> list[Limit]:
        """Return the budgets that the call takes from."""
        who, size = request.principal, request.estimate
        role, workspace = self.roles[who.role], self.workspaces[who.workspace]
        tokens = size.input_tokens + size.max_output_tokens
        start = now.replace(second=0, microsecond=0)
        minute = _span(start, start + timedelta(minutes=1))
        start = start.replace(minute=0)
        hour = _span(start, start + timedelta(hours=1))
        start = start.replace(hour=0)
        day = _span(start, start + timedelta(days=1))
        start = start.replace(day=1)
        month = _span(start, (start + timedelta(days=31)).replace(day=1))
        found = [
            Limit(
                "hourly-spending-guard", "HOURLY_SPEND_EXHAUSTED", "cost", "organization",
                _ceiling(self.hourly_usd, NANO_USD), cost, *hour,
            ),
            Limit(
                "role-daily-tokens", "DAILY_TOKENS_EXHAUSTED", "tokens", who.id,
                _ceiling(role["daily_token_budget"]), tokens, *day,
            ),
            Limit(
                "workspace-monthly-budget", "MONTHLY_BUDGET_EXHAUSTED", "cost", who.workspace,
                _ceiling(workspace["monthly_budget_usd"], NANO_USD), cost, *month,
            ),
            Limit(
                "workspace-requests-per-minute", "RATE_LIMITED", "requests", who.workspace,
                _ceiling(workspace["requests_per_minute"]), 1, *minute,
            ),
        ]  # fmt: skip
        if who.key_id:
            ceiling = _ceiling(self.keys[who.key_id].get("requests_per_minute", "unlimited"))
            found.append(Limit(
                "key-requests-per-minute", "KEY_RATE_LIMITED", "requests", who.key_id,
                ceiling, 1, *minute,
            ))  # fmt: skip
        return found


def _reason(code: str, rule: str, status: int, message: str) -> pb.Reason:
    return pb.Reason(code=code, rule=rule, http_status=status, message=message)


def _may(entry: dict[str, Any], names: set[str]) -> bool:
    """Return whether an entry allows a model by one of its names; one without a list does."""
    allowed = entry.get("allowed_models", ("*",))
    return "*" in allowed or not names.isdisjoint(allowed)


def _span(start: datetime, end: datetime) -> tuple[int, int]:
    return int(start.timestamp()), int(end.timestamp())


def _ceiling(value: float | str, unit: int = 1) -> int:
    return UNLIMITED if value == "unlimited" else round(float(value) * unit)
