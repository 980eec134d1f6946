"""The sidecar's listeners: for apps, for operators, and for probes."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.call_recorder import CallRecorders
from sidecar.authorization.policy_reload import Reloader
from sidecar.domain.clock import GuardedClock
from sidecar.identity.caller import Authenticator
from sidecar.identity.settings import (
    Mode,
    open_authenticator,
    open_denial_rate,
    open_rate,
    open_tls,
)
from sidecar.ledger.protocol import OperatorLedger
from sidecar.runtime.settings import Settings
from sidecar.server import admin
from sidecar.server.adapters import Adapters
from sidecar.server.addresses import ListenError, check_address, is_unix
from sidecar.server.health import Health, HealthListener
from sidecar.server.listener import Server
from sidecar.server.service import SERVICE, AuthorizationService
from sidecar.server.tls import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.identity.certificates import TlsContent

log = logging.getLogger(__name__)

_ADMIN_ADDRESS = "has to be unix:PATH, 127.0.0.1:PORT or [::1]:PORT, with any --identity"


class Checked(NamedTuple):
    """What listeners need, checked and opened before the ledger is."""

    authenticator: Authenticator
    tls: "Callable[[], TlsContent] | None"
    adapters: Adapters


async def check(settings: Settings) -> Checked:
    """Check every address, and open the authenticator, TLS and adapters.

    Raises ListenError, or ValueError, which names the flag.
    """
    identity = settings.identity
    for address in settings.listen:
        check_address(
            address, proven=identity.proves_elsewhere, by_certificate=identity.mode is Mode.MTLS
        )
    if settings.admin_listen:
        _check_admin(settings.admin_listen, settings.listen)
    return Checked(
        await open_authenticator(identity),
        open_tls(identity),
        Adapters(settings.adapters, identity),
    )


class Listeners:
    """The listeners of one sidecar: bound on creation, served from `start`."""

    def __init__(
        self,
        settings: Settings,
        checked: Checked,
        authorizer: Authorizer,
        ledger: OperatorLedger,
        reloader: Reloader,
        clock: GuardedClock,
        recorders: CallRecorders,
    ) -> None:
        """Bind them. Raises ListenError, or ValueError, which names the flag."""
        identity, (authenticator, tls, self._adapters) = settings.identity, checked
        self.health = Health([SERVICE])
        self._authenticator = authenticator
        self._tls = None if tls is None else Credentials(tls)
        # A Unix socket has no TLS, so that calls can be decided there in any case.
        self._needs_tls = not any(map(is_unix, settings.listen))
        service = AuthorizationService(
            authorizer,
            authenticator,
            open_rate(identity),
            recorders,
            open_denial_rate(identity),
        )
        self._apps = Server(
            self._adapters.services(service, authenticator, recorders),
            settings.listen,
            health_service=self.health,
            reflect=settings.reflection,
            settings=self._adapters.listeners(settings.listeners),
            tls=self._tls,
            proven=identity.mode is not Mode.POD,
        )
        self._operators = Server(
            [admin.AdminService(ledger, authorizer, reloader, clock, self.health)],
            [settings.admin_listen] if settings.admin_listen else [],
            settings=admin.LISTENER,
            max_calls=admin.MAX_CALLS,
        )
        self._probes = _bind_probes(self.health, settings.health_listen)
        self._start_adapters = partial(
            self._adapters.start, service, authenticator, recorders, settings.listeners
        )

    @property
    def addresses(self) -> list[str]:
        """The addresses for apps, with the actual ports for port 0."""
        return self._apps.addresses

    def problem(self) -> str:
        """Return why no call can be accepted or authenticated now; empty if calls can be."""
        tls = "" if self._tls is None else self._tls.problem()
        problem = self._apps.problem() or self._authenticator.problem()
        return problem or (tls if self._needs_tls else "")

    def certificate_seconds(self) -> float | None:
        """Return how long the certificate is valid; None without TLS."""
        return None if self._tls is None else self._tls.left_seconds()

    def client_ca_seconds(self) -> float | None:
        """Return how long the first client CA that ends is valid; None without client CAs."""
        return None if self._tls is None else self._tls.client_ca_left_seconds()

    def keys_age_seconds(self) -> float | None:
        """Return the age of the keys that verify tokens; None without tokens."""
        jwks = getattr(self._authenticator, "jwks", None)
        return None if jwks is None else float(jwks.age_seconds)

    async def start_probes(self) -> None:
        """Serve probes, which see that the sidecar is not ready yet."""
        if self._probes is not None:
            await self._probes.start()
            log.info("health on %s", self._probes.address)

    async def start(self) -> None:
        """Serve adapters, operators and apps.

        Adapters bind their addresses only here, and may fail. So they come first: no app is
        served by a sidecar that does not start.
        """
        await self._start_adapters()
        await self._operators.start()
        await self._apps.start()
        for address in self._operators.addresses:
            log.info("ADMIN on %s", address)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, and let those in flight finish. Probes are still served."""
        servers = (self._apps, self._operators, self._adapters)
        await asyncio.gather(*(each.stop(grace_seconds) for each in servers))

    async def stop_probes(self) -> None:
        """Stop serving probes."""
        if self._probes is not None:
            await self._probes.stop()


def _check_admin(address: str, apps: Sequence[str]) -> None:
    """Raise ValueError for an address that operators may not have."""
    try:
        check_address(address)
    except ListenError as error:
        why = str(error) if is_unix(address) else f"{address}: {_ADMIN_ADDRESS}"
        raise ValueError(f"--admin-listen {why}") from None
    if address in apps:
        raise ValueError(
            f"--admin-listen {address}: is an address for apps; operators need their own"
        )


def _bind_probes(health: Health, address: str) -> HealthListener | None:
    """Bind the probes' own address, if configured. Raises ValueError."""
    if not address:
        return None
    try:
        return HealthListener(health, address)
    except ListenError as error:
        raise ValueError(f"--health-listen {error}") from None
