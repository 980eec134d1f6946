"""Mapping of Envoy's request to a principal: reads only the configured sources."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.contract.validation import InvalidFieldError
from sidecar.envoy.v3 import ext_authz_pb2 as envoy
from sidecar.identity.pins import is_value
from sidecar.server.errors import RefusedError

LABEL = "labels."
FIELDS = ("id", "role", "workspace", "key_id", "region")
"""The fields that a source can set, beside labels: the principal's, and the region."""

_SECRET = {"authorization", "cookie", "proxy-authorization", "x-api-key"}
_EXAMPLE = "as in id=header:x-user, workspace=extension:workspace or id=peer"


@dataclass(frozen=True, slots=True)
class Source:
    """A field and its source."""

    field: str
    kind: str
    """header, extension or peer."""
    name: str = ""
    """The name of the header, in lower case, or of the context extension."""


def read_sources(pairs: Iterable[str]) -> Sequence[Source]:
    """Parse sources written as FIELD=SOURCE. Raises ValueError, which names the wrong one."""
    sources: dict[str, Source] = {}
    for pair in pairs:
        field, equals, where = pair.partition("=")
        kind, _, name = where.partition(":")
        known = field in FIELDS or (field.startswith(LABEL) and field != LABEL)
        named = bool(name) == (kind != "peer")
        if not equals or not known or kind not in ("header", "extension", "peer") or not named:
            raise ValueError(f"{pair}: has to be FIELD=SOURCE, {_EXAMPLE}")
        if field in sources:
            raise ValueError(f"{field} has two sources")
        if kind == "header":
            name = name.lower()
            if name in _SECRET:
                raise ValueError(f"{pair}: that header has a secret, and is never read")
        sources[field] = Source(field, kind, name)
    return tuple(sources.values())


def headers_of(request: envoy.HttpRequest) -> Mapping[str, str]:
    """Return the headers by lower-case name; repeated ones are joined by commas.

    Bytes that are not UTF-8 become characters that no field accepts: replaced by a mark, two
    values would be one.
    """
    headers: dict[str, str] = {}
    for name, value in (
        *request.headers.items(),
        *((h.key, h.value or h.raw_value.decode(errors="surrogateescape")) for h in _raw(request)),
    ):
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers


def fill(
    request: pb.AuthorizeRequest,
    sources: Sequence[Source],
    attributes: envoy.Attributes,
    headers: Mapping[str, str],
) -> None:
    """Fill in a request from its sources. Raises RefusedError or InvalidFieldError.

    A source without a value leaves its field empty; validation comes later.
    """
    request.principal.SetInParent()
    for source in sources:
        value = _value(source, attributes, headers)
        if not value:
            continue
        if not is_value(value):
            raise InvalidFieldError(source.field, "is not a printable value of 1 to 256 bytes")
        if source.field == "region":
            request.estimate.region = value
        elif source.field.startswith(LABEL):
            request.principal.labels[source.field.removeprefix(LABEL)] = value
        else:
            setattr(request.principal, source.field, value)


def _value(source: Source, attributes: envoy.Attributes, headers: Mapping[str, str]) -> str:
    match source.kind:
        case "peer":
            return attributes.source.principal
        case "extension":
            return attributes.context_extensions.get(source.name, "")
    value = headers.get(source.name, "")
    if "," in value:  # the client sent one, too, beside the trusted one
        raise RefusedError(
            "PRINCIPAL_AMBIGUOUS",
            f"there is more than one {source.name}, so the principal is ambiguous",
        )
    return value


def _raw(request: envoy.HttpRequest) -> Iterable[envoy.HeaderValue]:
    return request.header_map.headers
