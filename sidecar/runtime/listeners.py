"""Who can reach the sidecar: apps, operators and probes, each on listeners of their own."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.call_recorder import CallRecorders
from sidecar.authorization.policy_reload import Reloader
from sidecar.domain.clock import Clock
from sidecar.identity.caller import Authenticator
from sidecar.identity.settings import Mode, open_authenticator, open_rate, open_tls
from sidecar.ledger.protocol import OperatorLedger
from sidecar.runtime.settings import Settings
from sidecar.server import admin
from sidecar.server.adapters import Adapters
from sidecar.server.addresses import ListenError, check_address
from sidecar.server.health import Health, HealthListener
from sidecar.server.listener import Server
from sidecar.server.service import SERVICE, AuthorizationService
from sidecar.server.tls import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.identity.certificates import TlsContent

log = logging.getLogger(__name__)

_NEAR = "has to be unix:PATH, or 127.0.0.1:PORT or [::1]:PORT, whoever apps are"


class Checked(NamedTuple):
    """What listeners need, and can be opened before anything else."""

    authenticator: Authenticator
    tls: "Callable[[], TlsContent] | None"
    adapters: Adapters


async def check(settings: Settings) -> Checked:
    """Check every address, and open how callers prove who they are.

    Raises ListenError, or ValueError, which names the flag.
    """
    who = settings.identity
    for address in settings.listen:
        check_address(address, proven=who.proves_elsewhere, by_certificate=who.mode is Mode.MTLS)
    if settings.admin_listen:
        _check_admin(settings.admin_listen, settings.listen)
    return Checked(await open_authenticator(who), open_tls(who), Adapters(settings.adapters, who))


class Listeners:
    """The listeners of one sidecar. They are bound first, and answer once they are started."""

    def __init__(
        self,
        settings: Settings,
        checked: Checked,
        authorizer: Authorizer,
        books: OperatorLedger,
        reloader: Reloader,
        clock: Clock,
        recorders: CallRecorders,
    ) -> None:
        """Bind them. Raises ListenError, or ValueError, which names the flag."""
        who, (authenticator, tls, self._adapters) = settings.identity, checked
        self.health = Health([SERVICE])
        service = AuthorizationService(authorizer, authenticator, open_rate(who), recorders)
        self._apps = Server(
            self._adapters.services(service, authenticator, recorders),
            settings.listen,
            health_service=self.health,
            reflect=settings.reflection,
            settings=self._adapters.listeners(settings.listeners),
            tls=None if tls is None else Credentials(tls),
            proven=who.mode is not Mode.POD,
        )
        self._operators = Server(
            [admin.AdminService(books, authorizer, reloader, clock)],
            [settings.admin_listen] if settings.admin_listen else [],
            settings=admin.LISTENER,
            calls_at_most=admin.MAX_CALLS,
        )
        self._probes = _bind_probes(self.health, settings.health_listen)
        self._open_doors = partial(
            self._adapters.start, service, authenticator, recorders, settings.listeners
        )

    @property
    def addresses(self) -> list[str]:
        """Where apps ask, with the ports that were chosen for port 0."""
        return self._apps.addresses

    async def start_probes(self) -> None:
        """Answer probes, who are told that nothing is ready yet."""
        if self._probes is not None:
            await self._probes.start()
            log.info("health on %s", self._probes.address)

    async def start(self) -> None:
        """Answer apps and operators."""
        await self._apps.start()
        await self._operators.start()
        await self._open_doors()
        for address in self._operators.addresses:
            log.info("ADMIN on %s", address)

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, and let what is in flight finish. Probes are still answered."""
        closing = (self._apps, self._operators, self._adapters)
        await asyncio.gather(*(each.stop(grace_seconds) for each in closing))

    async def stop_probes(self) -> None:
        """Answer nobody any more."""
        if self._probes is not None:
            await self._probes.stop()


def _check_admin(address: str, apps: Sequence[str]) -> None:
    """Raise ValueError for an address that operators may not have."""
    try:
        check_address(address)
    except ListenError:
        raise ValueError(f"--admin-listen {address}: {_NEAR}") from None
    if address in apps:
        raise ValueError(f"--admin-listen {address}: apps ask there; give operators their own")


def _bind_probes(health: Health, address: str) -> HealthListener | None:
    """Listen for probes from other machines, if that was asked for. Raises ValueError."""
    if not address:
        return None
    try:
        return HealthListener(health, address)
    except ListenError as error:
        raise ValueError(f"--health-listen {error}") from None
