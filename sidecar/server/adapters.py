"""The configured adapters (Envoy, AuthZEN) over the authorization service."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from sidecar.authorization.call_recorder import CallRecorders
from sidecar.domain.flag_errors import naming
from sidecar.domain.flags import setting
from sidecar.domain.usage import MAX_COUNT
from sidecar.identity.caller import Authenticator
from sidecar.identity.settings import IdentitySettings, Mode, open_tls
from sidecar.server.addresses import check_address, is_unix
from sidecar.server.envoy.mistral_request import MAX_BODY_BYTES
from sidecar.server.envoy.principal_map import read_sources
from sidecar.server.envoy.service import ExtAuthz
from sidecar.server.listener import MAX_REQUEST_BYTES, ListenerSettings, Service
from sidecar.server.service import AuthorizationService


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Other protocols that are answered; none by default."""

    PANEL: ClassVar = "Adapters"
    ext_authz: bool = setting(
        "--ext-authz", "Answer Envoy's external authorization, on --listen.", default=False
    )
    ext_authz_from: Sequence[str] = setting(
        "--ext-authz-from",
        "Where a field of the principal is in Envoy's request. FIELD: id, role, workspace,"
        " key_id, region or labels.NAME. SOURCE: header:NAME, which Envoy has to set,"
        " extension:NAME of the route's context, or peer. Repeatable; separated by spaces in the"
        " variable.",
        "FIELD=SOURCE",
        default=(),
    )
    ext_authz_attachment_tokens: int = setting(
        "--ext-authz-attachment-tokens",
        "The most tokens that an image, audio or document in a message may take; each is held as"
        " so many. 0 refuses them.",
        "TOKENS",
        default=0,
        min=0,
        max=MAX_COUNT // 1000,
    )
    authzen_listen: str = setting(
        "--authzen-listen",
        "Answer AuthZEN over HTTP at HOST:PORT or unix:PATH. Only loopback, unless callers"
        " authenticate.",
        "ADDRESS",
        default="",
    )
    authzen_url: str = setting(
        "--authzen-url",
        "The URL in AuthZEN's metadata, if callers use another one than the address.",
        "URL",
        default="",
    )


if TYPE_CHECKING:
    from sidecar.server.authzen.server import AuthZen

log = logging.getLogger(__name__)


class Adapters:
    """The adapters of one sidecar."""

    def __init__(self, settings: AdapterSettings, identity: IdentitySettings) -> None:
        """Check the settings together. Raises ValueError, which names the flag."""
        if settings.ext_authz_from and not settings.ext_authz:
            raise ValueError("--ext-authz-from needs --ext-authz")
        if settings.ext_authz_attachment_tokens and not settings.ext_authz:
            raise ValueError("--ext-authz-attachment-tokens needs --ext-authz")
        with naming("--ext-authz-from"):
            self._sources = read_sources(settings.ext_authz_from)
        if settings.authzen_url and not settings.authzen_listen:
            raise ValueError("--authzen-url needs --authzen-listen")
        with naming("--authzen-url"):
            _check_url(settings.authzen_url)
        if settings.authzen_listen:
            by_certificate = identity.mode is Mode.MTLS
            with naming("--authzen-listen"):
                check_address(
                    settings.authzen_listen,
                    proven=identity.proves_elsewhere,
                    by_certificate=by_certificate,
                )
        self._settings = settings
        self._identity = identity
        self._authzen: AuthZen | None = None

    def listeners(self, settings: ListenerSettings) -> ListenerSettings:
        """Return the app listeners' settings; with Envoy, requests may contain whole bodies."""
        if not self._settings.ext_authz:
            return settings
        return replace(settings, max_request_bytes=MAX_BODY_BYTES + MAX_REQUEST_BYTES)

    def services(
        self, service: AuthorizationService, authenticator: Authenticator, recorders: CallRecorders
    ) -> list[Service]:
        """Return the services of the app listeners."""
        if not self._settings.ext_authz:
            return [service]
        most = self._settings.ext_authz_attachment_tokens
        return [service, ExtAuthz(service, authenticator, self._sources, recorders, most)]

    async def start(
        self,
        service: AuthorizationService,
        authenticator: Authenticator,
        recorders: CallRecorders,
        listeners: ListenerSettings,
    ) -> None:
        """Start the AuthZEN listener, if configured. Raises ValueError, which names the flag."""
        address, identity = self._settings.authzen_listen, self._identity
        if not address:
            return
        from sidecar.server.authzen.server import AuthZen  # noqa: PLC0415 - not all need HTTP
        from sidecar.web.tls import NewestContext  # noqa: PLC0415 - the same

        read, tls = open_tls(identity), None
        with naming("--authzen-listen"):
            if read and identity.tls_cert and identity.tls_key and not is_unix(address):
                tls = NewestContext(read, identity.tls_cert, identity.tls_key, identity.client_ca)
            authzen = AuthZen(
                service,
                authenticator,
                recorders,
                url=self._settings.authzen_url,
                settings=listeners,
                tls=tls,
            )
            log.info("AUTHZEN on %s", await authzen.start(address))
        self._authzen = authzen

    async def stop(self, grace_seconds: float) -> None:
        """Accept no new requests, and let those in flight finish."""
        if self._authzen is not None:
            await self._authzen.stop(grace_seconds)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if url and not (parts.scheme in ("https", "http") and parts.netloc):
        raise ValueError(f"{url} is not an http or https URL")
    if parts.query or parts.fragment:
        raise ValueError(f"{url} has a query or a fragment")
