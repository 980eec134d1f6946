"""The composition root: the only place that builds everything, and runs it."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import Dispatcher
from sidecar.alerts.opening import AlertSettings, open_channels
from sidecar.authorizer import Authorizer
from sidecar.domain.clock import SECOND_US, Clock, never_back
from sidecar.domain.share import WHOLE, Share
from sidecar.doors.settings import DoorSettings
from sidecar.housekeeping import keep_house, keep_keys, meet_keys
from sidecar.identity.opening import IdentitySettings, Mode, open_proof, open_rate, open_tls
from sidecar.keys.settings import ScheduleSettings
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.reloading import PolicySource, Reloader, ReloadSettings, tell_of_the_share
from sidecar.server import admin
from sidecar.server.addresses import ListenError, check_address
from sidecar.server.doors import Doors
from sidecar.server.health import Health
from sidecar.server.health_listener import HealthListener
from sidecar.server.listen import ListenerSettings, Server
from sidecar.server.service import SERVICE, AuthorizationService
from sidecar.server.tls import Credentials
from sidecar.telemetry.opening import Telemetry, TelemetrySettings
from sidecar.telemetry.readiness import Readiness
from sidecar.telemetry.sources import Sources

log = logging.getLogger(__name__)

DAY_US = 86_400 * SECOND_US


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `sidecar serve` can be told."""

    policies: Path
    ledger: Path
    listen: list[str] = field(default_factory=lambda: ["127.0.0.1:50051"])
    engine: str = "cel-cpp"
    share: Share = WHOLE
    time_zone: str = "UTC"
    hold_ttl_seconds: int = 600
    retention_days: int = 35
    reflection: bool = False
    grace_seconds: float = 10.0
    alerts: AlertSettings = field(default_factory=AlertSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    listeners: ListenerSettings = field(default_factory=ListenerSettings)
    admin_listen: str = ""
    reloads: ReloadSettings = field(default_factory=ReloadSettings)
    health_listen: str = ""
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    rotation: ScheduleSettings | None = None
    """Rotate the policy set's active keys, if at all."""
    doors: DoorSettings = field(default_factory=DoorSettings)


def wall_clock_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000


async def serve(settings: Settings, log_lines_dropped: Callable[[], int] = lambda: 0) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Raises PolicyError, LedgerRefusedError, ListenError or ValueError when it
    cannot start; each says why and the way out.
    """
    stopping = _told_to_stop()
    who = settings.identity
    for address in settings.listen:
        check_address(address, proven=who.proves_elsewhere, by_certificate=who.mode is Mode.MTLS)
    proof = await open_proof(who)
    tls = open_tls(who)
    operators_at = _admin_address(settings)
    doors = Doors(settings.doors, who)
    channels = open_channels(settings.alerts)
    source = PolicySource(settings.policies, settings.engine, settings.share, settings.reloads)
    telemetry = Telemetry(settings.telemetry)
    policy = source.load()
    tell_of_the_share(policy)
    names = [channel.name for channel in channels]
    ledger = SqliteLedger(settings.ledger, ZoneInfo(settings.time_zone), names)
    try:
        clock = _clock(ledger.latest_us)
        authorizer = Authorizer(policy, ledger, clock, settings.hold_ttl_seconds * SECOND_US)
        reloader = Reloader(source, authorizer, wall_clock_us)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.soon)
        health = Health([SERVICE])
        await meet_keys(ledger, authorizer, clock)
        service = AuthorizationService(authorizer, proof, open_rate(who), telemetry.observer)
        server = Server(
            doors.services(service, proof, telemetry.observer),
            settings.listen,
            health_service=health,
            reflect=settings.reflection,
            settings=doors.listeners(settings.listeners),
            tls=None if tls is None else Credentials(tls),
            proven=who.mode is not Mode.POD,
        )
        operators = Server(
            [admin.AdminService(ledger, authorizer, reloader, clock)],
            operators_at,
            settings=admin.LISTENER,
            calls_at_most=admin.CALLS_AT_MOST,
        )
        readiness = Readiness(ledger, health.report)
        ledger.watchers.append(readiness)
        health_listener = await _start_health(health, settings.health_listen)
        counts = AlertCounts()
        ledger.watchers += await telemetry.start_metrics(
            Sources(
                books=ledger,
                clock=clock,
                policies=lambda: reloader.status,
                loads=reloader.loads,
                ready=lambda: health.ready,
                alerts=counts,
                log_dropped=log_lines_dropped,
            )
        )
        rotating = _rotating(settings, authorizer)
        await server.start()
        await operators.start()
        await doors.start(service, proof, telemetry.observer, settings.listeners)
        log.info(
            "SERVING on %s; policies %s (%d rules, %s); ledger %s",
            ", ".join(server.addresses),
            policy.digest[:12],
            len(policy.rules),
            policy.engine.name,
            settings.ledger,
        )
        for address in operators.addresses:
            log.info("ADMIN on %s", address)
        dispatcher = Dispatcher(ledger, channels, wall_clock_us, counts)
        beside = [
            asyncio.create_task(keep_house(ledger, clock, settings.retention_days * DAY_US)),
            asyncio.create_task(keep_keys(ledger, authorizer, clock)),
            asyncio.create_task(dispatcher.run()),
            asyncio.create_task(reloader.run()),
            asyncio.create_task(readiness.run()),
            *map(asyncio.create_task, rotating),
        ]
        await stopping.wait()
        log.info("stopping: calls in flight may take up to %g s", settings.grace_seconds)
        await asyncio.gather(
            *(each.stop(settings.grace_seconds) for each in (server, operators, doors))
        )
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if health_listener is not None:
            await health_listener.stop()
    finally:
        await telemetry.close()
        await ledger.close()
    log.info("stopped")


def _told_to_stop() -> asyncio.Event:
    """Return what SIGTERM and SIGINT set."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # process 1 ignores what it does not handle
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _admin_address(settings: Settings) -> list[str]:
    """Return where operators listen, if anywhere; never where apps do. Raises ValueError."""
    address = settings.admin_listen
    try:
        if address:
            check_address(address)
    except ListenError:
        raise ValueError(f"--admin-listen {address}: {_NEAR}") from None
    if address in settings.listen:
        raise ValueError(f"--admin-listen {address}: apps ask there; give operators their own")
    return [address] if address else []


_NEAR = "has to be unix:PATH, or 127.0.0.1:PORT or [::1]:PORT, whoever apps are"


async def _start_health(health: Health, address: str) -> HealthListener | None:
    """Answer probes from other machines, if that was asked for. Raises ValueError."""
    if not address:
        return None
    try:
        listener = HealthListener(health, address)
    except ListenError as error:
        raise ValueError(f"--health-listen {error}") from None
    await listener.start()
    log.info("health on %s", listener.address)
    return listener


def _rotating(settings: Settings, authorizer: Authorizer) -> list[Coroutine[Any, Any, None]]:
    """Return what rotates the active keys of whichever policy set is in force, if asked for."""
    if settings.rotation is None:
        return []
    from sidecar.keys.schedule import Schedule  # noqa: PLC0415 - takes a while, and is rare

    def active() -> list[str]:
        known = authorizer.policy.catalogue.keys.values()
        return [key.id for key in known if key.state == "active"]

    return [Schedule(settings.rotation, settings.ledger, active, wall_clock_us).run()]


def _clock(ledger_us: int) -> Clock:
    behind_us = ledger_us - wall_clock_us()
    if behind_us > 60 * SECOND_US:
        log.warning(
            "the clock is %d s behind the ledger's last entry: no window opens until it has"
            " caught up",
            behind_us // SECOND_US,
        )
    return never_back(wall_clock_us, ledger_us)
