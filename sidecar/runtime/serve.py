"""The composition root: creates all parts of a sidecar, and runs them."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.alerts.channels import open_channels
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import Dispatcher
from sidecar.authorization.authorizer import Authorizer
from sidecar.authorization.policy_reload import PolicySource, Reloader, warn_of_share
from sidecar.domain.alerts import Origin
from sidecar.domain.clock import DAY_US, SECOND_US, GuardedClock, check_start, format_length
from sidecar.ledger import ledger_file
from sidecar.ledger.ledger_marker import LedgerMarker
from sidecar.ledger.place_in_fleet import check_alone
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy.policy_set import PolicySet
from sidecar.runtime import listeners
from sidecar.runtime.alone import Alone
from sidecar.runtime.listeners import Listeners
from sidecar.runtime.logs import Log
from sidecar.runtime.maintenance import (
    run_key_maintenance,
    run_maintenance,
    sync_keys,
    watch_disk,
)
from sidecar.runtime.membership import membership
from sidecar.runtime.settings import Settings
from sidecar.telemetry.readiness import Readiness
from sidecar.telemetry.setup import Telemetry
from sidecar.telemetry.sources import Sources

log = logging.getLogger(__name__)


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends a sidecar."""

CLOSE_SECONDS = 10.0
"""How long files may take to close, after the grace of the calls in flight."""


def wall_clock_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000


def steady_clock_us() -> int:
    """Return the microseconds since some moment, without steps; sleep of the machine counts."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


def end_at_signals() -> None:
    """Let SIGTERM and SIGINT end the process at once, as long as it serves no calls.

    Opening a ledger may wait for a disk that does not answer, and Python handles no signal
    meanwhile. There is nothing to finish: what an interrupted start has written is begun anew.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


async def serve(settings: Settings, lines: Log) -> None:
    """Serve until SIGTERM or SIGINT, then finish the calls in flight; `lines` is the log.

    If the disk keeps it from ending, the process exits with 1 CLOSE_SECONDS after the grace.
    Before it serves, a signal ends the process at once: see `end_at_signals`.

    Raises PolicyError, LedgerRefusedError, ListenError or ValueError when it cannot
    start; each says why, and how to fix it.
    """
    if settings.rotation.every_days:
        settings.rotation.files()
    checked = await listeners.check(settings)
    channels = open_channels(settings.alerts)
    zone = ZoneInfo(settings.time_zone)
    source = PolicySource(
        settings.policies, settings.engine, settings.share, zone, settings.reloads
    )
    telemetry = Telemetry(settings.telemetry)
    policy = source.load()
    _warn(policy, settings)
    path = settings.ledger_marker
    marker = None if path is None else LedgerMarker(path, settings.ledger)
    member = membership(settings, steady_clock_us)
    ledger = _open_ledger(settings, marker, zone, [channel.name for channel in channels], member)
    ending = threading.Timer(settings.grace_seconds + CLOSE_SECONDS, _give_up, (lines,))
    ending.daemon = True
    try:
        if marker is not None:
            marker.check(ledger.ledger_id)
        if member.fleet() is None:
            check_alone(settings.ledger)
        clock = _clock(ledger.latest_us, settings)
        authorizer = Authorizer(
            policy,
            ledger,
            clock,
            settings.hold_ttl_seconds * SECOND_US,
            guard=clock,
            bounds=settings.usage,
        )
        reloader = Reloader(source, authorizer, wall_clock_us)
        await member.start(clock)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.start_reload)
        await sync_keys(ledger, authorizer, clock)
        serving = Listeners(
            settings, checked, authorizer, ledger, reloader, clock, telemetry.recorders
        )
        problems = [clock.problem, ledger.problem, serving.problem, member.problem]
        readiness = Readiness(ledger, serving.health.report, problems)
        counts = AlertCounts()
        sources = Sources(
            ledger=ledger,
            clock=clock,
            policies=lambda: reloader.status,
            loads=reloader.loads,
            ready=lambda: serving.health.ready,
            alerts=counts,
            log_dropped=lambda: lines.dropped,
            certificate_seconds=serving.certificate_seconds,
            client_ca_seconds=serving.client_ca_seconds,
            keys_age_seconds=serving.keys_age_seconds,
            fleet=member.fleet,
        )
        ledger.watchers += [readiness, *await telemetry.start_metrics(sources)]
        rotation = _key_rotation(settings, authorizer)
        stopping = _stop_signal()
        await serving.start_probes()
        await serving.start()
        _log_serving(settings, policy, serving.addresses)
        tasks = _started(
            run_maintenance(ledger, clock, settings.retention_days * DAY_US),
            run_key_maintenance(ledger, authorizer, clock),
            watch_disk(ledger),
            Dispatcher(ledger, channels, wall_clock_us, counts, member.claims()).run(),
            reloader.run(),
            readiness.run(),
            *rotation,
        )
        await stopping.wait()
        ending.start()
        await _stop(serving, tasks, settings.grace_seconds)
    finally:
        await telemetry.close()
        await member.leave()
        await ledger.close()
        ending.cancel()
    log.info("stopped")


def _open_ledger(
    settings: Settings,
    marker: LedgerMarker | None,
    zone: ZoneInfo,
    channels: Sequence[str],
    member: Alone,
) -> SqliteLedger:
    """Open the ledger, for alerts to these channels. Raises LedgerRefusedError."""
    is_new = ledger_file.is_new(settings.ledger)
    if is_new and marker is not None:
        marker.check_none()
    if is_new and settings.require_ledger:
        raise LedgerRefusedError(
            f"{settings.ledger}: there is no ledger, and with --require-ledger none is created,"
            " because every budget would be full again; put it back, or restore a backup"
        )
    instance = f"{socket.gethostname()}:{settings.ledger.resolve()}"
    ledger = member.open_ledger(settings, zone, channels, Origin(instance, str(settings.share)))
    if is_new:
        log.warning("%s: a new ledger, %s", settings.ledger, _NEW[member.fleet() is not None])
    return ledger


_NEW = {
    False: "with which every budget is full",
    True: "with a new place in the fleet; the shares of the one before, if any, are stranded",
}
"""What a new ledger is, alone and in a fleet."""


def _log_serving(settings: Settings, policy: PolicySet, addresses: Iterable[str]) -> None:
    log.info(
        "SERVING on %s; policies %s (%d rules, %s); ledger %s",
        ", ".join(addresses),
        policy.digest[:12],
        len(policy.rules),
        policy.engine.name,
        settings.ledger,
    )


def _started(*work: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    """Start background work."""
    return [asyncio.create_task(one) for one in work]


async def _stop(
    serving: Listeners, tasks: Iterable[asyncio.Task[None]], grace_seconds: float
) -> None:
    """Finish the calls in flight, and end the background work; health is probed until then."""
    log.info("stopping: calls in flight may take up to %g s", grace_seconds)
    await serving.stop(grace_seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await serving.stop_probes()


def _give_up(lines: Log) -> None:
    """End the process although a file cannot be closed; what was answered is on disk (L4)."""
    log.critical("the disk does not answer: ends without closing the ledger; nothing is lost")
    lines.close()
    os._exit(1)


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopping = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _warn(policy: PolicySet, settings: Settings) -> None:
    """Log what a policy set leaves without room, and each pin whose name is unknown."""
    warn_of_share(policy)
    known = {"role": set(policy.catalogue.roles), "workspace": set(policy.catalogue.workspaces)}
    for pin in settings.identity.pins:
        field, _, name = pin.partition("=")
        if field in known and name not in known[field]:
            log.warning(
                "--pin %s: the policies have no such %s, so every call is denied", pin, field
            )


def _key_rotation(settings: Settings, authorizer: Authorizer) -> list[Coroutine[Any, Any, None]]:
    """Return the schedule that rotates the active keys of the served policy set, if configured."""
    if not settings.rotation.every_days:
        return []
    from sidecar.keys.rotator import other_sidecars  # noqa: PLC0415 - rarely used
    from sidecar.keys.schedule import Schedule  # noqa: PLC0415 - slow to import

    def active() -> list[str]:
        known = authorizer.policy.catalogue.keys.values()
        now_us = wall_clock_us()
        alive = (key for key in known if key.expires.ToMicroseconds() > now_us)
        return [key.id for key in alive if key.state == "active"]

    others = other_sidecars(settings.fleet_url_file)
    return [Schedule(settings.rotation, settings.ledger, active, wall_clock_us, others).run()]


def _clock(ledger_us: int, settings: Settings) -> GuardedClock:
    """Return the time of decisions on a ledger. Raises LedgerRefusedError."""
    wall_us = wall_clock_us()
    if problem := check_start(ledger_us, wall_us, settings.confirm_clock):
        raise LedgerRefusedError(f"{settings.ledger}: {problem}")
    if ledger_us - wall_us > 60 * SECOND_US:
        log.warning(
            "the clock is %s behind the ledger's last entry: no new window opens until it has"
            " caught up; if the clock is right, `sidecar ledger set-time` sets the ledger back",
            format_length(ledger_us - wall_us),
        )
    return GuardedClock(wall_clock_us, steady_clock_us, ledger_us)
