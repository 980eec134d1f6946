"""The variants of Mistral's API for keys: their requests, and the parsing of responses.

Two are documented, and neither could be tested: the one that this project's first version
showed (`/v1/api-keys`), and Mistral's preview (`/v1/admin/api-keys`). So requests follow the
documents exactly, and responses are read tolerantly.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sidecar.domain.clock import to_us
from sidecar.domain.flags import setting
from sidecar.keys.secret import Secret

URL = "https://api.mistral.ai"

_SECRETS = ("api_key", "apiKey", "key", "secret", "token", "value")
_LISTS = ("data", "api_keys", "keys", "items")


class Auth(StrEnum):
    """The header of the admin key; Mistral's documents show both."""

    BEARER = "bearer"
    X_API_KEY = "x-api-key"

    def headers(self, key: Secret) -> dict[str, str]:
        """Return the header with the key."""
        if self is Auth.BEARER:
            return {"Authorization": f"Bearer {key.reveal()}"}
        return {"x-api-key": key.reveal()}


class ApiVariantName(StrEnum):
    """The variants by name."""

    ADMIN = "admin"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """A key as Mistral lists it; "" or None for what a response leaves out."""

    id: str
    name: str
    workspace: str = ""
    user: str = ""
    description: str = ""
    created_at_us: int | None = None
    last_used_at_us: int | None = None
    expires_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """The fields of a key to create. The unique name finds the key if the response is lost."""

    name: str
    workspace: str = ""
    user: str = ""
    description: str = ""
    expires_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key that was just created, with its secret, which no later response has."""

    key: RemoteKey
    secret: Secret


@dataclass(frozen=True, slots=True)
class ApiVariant:
    """One variant of the API: its path, and its names for the fields of a key."""

    path: str
    workspace: str
    user: str = ""
    description: str = ""
    expiration: str = ""

    def body(self, new: NewKey) -> dict[str, str]:
        """Return the body of the POST. Raises ValueError when a required field is missing."""
        if not new.workspace or (self.user and not new.user):
            needed = " and ".join(filter(None, (self.workspace, self.user)))
            raise ValueError(f"a new key needs {needed} at Mistral")
        expires = "" if new.expires_at_us is None else _iso(new.expires_at_us)
        fields = {
            "name": new.name,
            self.workspace: new.workspace,
            self.user: new.user,
            self.description: new.description,
            self.expiration: expires,
        }
        return {name: value for name, value in fields.items() if name and value}


API_VARIANTS = {
    ApiVariantName.ADMIN: ApiVariant(
        "/v1/admin/api-keys", workspace="workspace_uuid", user="user_id", expiration="expiration"
    ),
    ApiVariantName.SEED: ApiVariant(
        "/v1/api-keys", workspace="workspace_id", description="description"
    ),
}


@dataclass(frozen=True, slots=True)
class MistralSettings:
    """How to reach Mistral's admin API."""

    PANEL: ClassVar = "Mistral's admin API"
    url: str = setting("--mistral-url", "Its URL; https, or http on loopback.", "URL", default=URL)
    shape: ApiVariantName = setting(
        "--mistral-shape",
        "Which of its two documented variants to use: admin (/v1/admin/api-keys) or seed"
        " (/v1/api-keys).",
        default=ApiVariantName.ADMIN,
    )
    path: str = setting(
        "--mistral-keys-path", "The path of its keys, if not the variant's own.", "PATH", default=""
    )
    auth: Auth = setting(
        "--mistral-auth", "Which header carries the admin key.", default=Auth.BEARER
    )
    timeout_seconds: float = 20.0


def read_created(document: Any) -> CreatedKey | None:
    """Read the response to a POST; None when the id or the secret is missing."""
    if isinstance(document, dict) and isinstance(document.get("data"), dict):
        document = document["data"]
    key = _read_key(document)
    secret = next((document[name] for name in _SECRETS if document.get(name)), None) if key else ""
    try:
        return CreatedKey(key, Secret(secret)) if key and isinstance(secret, str) else None
    except ValueError:
        return None


def read_page(document: Any) -> tuple[list[RemoteKey], bool | None] | None:
    """Read one page of a list: its keys, and whether more follow (None if it does not say).

    None when it is not a list of keys, so that it is not taken for an empty one.
    """
    entries, more = document, None
    if isinstance(document, dict):
        entries = next((document[name] for name in _LISTS if name in document), None)
        following = document.get("has_more", document.get("next", ...))
        more = None if following is ... else bool(following)
    if not isinstance(entries, list):
        return None
    keys = [_read_key(entry) for entry in entries]
    return None if None in keys else ([key for key in keys if key], more)


def _read_key(entry: Any) -> RemoteKey | None:
    found = _text(entry, "id", "key_id", "uuid")
    if not found:
        return None
    return RemoteKey(
        id=found,
        name=_text(entry, "name"),
        workspace=_text(entry, "workspace_uuid", "workspace_id"),
        user=_text(entry, "user_id"),
        description=_text(entry, "description"),
        created_at_us=_time(entry, "created_at"),
        last_used_at_us=_time(entry, "last_used_at"),
        expires_at_us=_time(entry, "expiration", "expires_at"),
    )


def _text(entry: Any, *names: str) -> str:
    if not isinstance(entry, dict):
        return ""
    found = next((entry[name] for name in names if entry.get(name)), "")
    return str(found) if isinstance(found, str | int) else ""


def _time(entry: Any, *names: str) -> int | None:
    """Read a time in ISO 8601, by default in UTC, or in seconds since the epoch."""
    found = next((entry[name] for name in names if entry.get(name)), None)
    try:
        if isinstance(found, int | float):
            return to_us(datetime.fromtimestamp(found, UTC))
        moment = datetime.fromisoformat(found or "")
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds")
