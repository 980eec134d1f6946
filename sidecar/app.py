"""The composition root: the only place that builds everything, and runs it."""

import asyncio
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from sidecar.alerts.channel import Channel, LogChannel
from sidecar.alerts.command import CommandChannel
from sidecar.alerts.counts import AlertCounts
from sidecar.alerts.dispatcher import Dispatcher
from sidecar.authorizer import Authorizer
from sidecar.domain.clock import SECOND_US, Clock, never_back
from sidecar.ledger.protocol import Ledger, LedgerUnavailableError
from sidecar.ledger.sqlite import SqliteLedger
from sidecar.policy import policy_set
from sidecar.server.listen import Server, check_address
from sidecar.server.service import AuthorizationService

log = logging.getLogger(__name__)

EXPIRE_EVERY_SECONDS = 1.0
PRUNE_EVERY_SECONDS = 60.0
BURN_EVERY_SECONDS = 60.0
DAY_US = 86_400 * SECOND_US


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `sidecar serve` can be told."""

    policies: Path
    ledger: Path
    listen: list[str] = field(default_factory=lambda: ["127.0.0.1:50051"])
    engine: str = "cel-cpp"
    time_zone: str = "UTC"
    hold_ttl_seconds: int = 600
    retention_days: int = 35
    reflection: bool = False
    grace_seconds: float = 10.0
    alert_webhook: str = ""
    alert_webhook_secret_file: Path | None = None
    alert_command: str = ""


def wall_clock_us() -> int:
    """Return the system's time in microseconds since the epoch."""
    return time.time_ns() // 1000


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Raises PolicyError, LedgerRefusedError, ListenError or ValueError when it
    cannot start; each says why and the way out.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # process 1 ignores what it does not handle
        loop.add_signal_handler(number, stopping.set)
    for address in settings.listen:
        check_address(address)
    channels = _channels(settings)
    policy = policy_set.load(settings.policies, settings.engine)
    names = [channel.name for channel in channels]
    ledger = SqliteLedger(settings.ledger, ZoneInfo(settings.time_zone), names)
    try:
        clock = _clock(ledger.latest_us)
        authorizer = Authorizer(policy, ledger, clock, settings.hold_ttl_seconds * SECOND_US)
        server = Server(
            AuthorizationService(authorizer), settings.listen, reflect=settings.reflection
        )
        await server.start()
        log.info(
            "SERVING on %s; policies %s (%d rules, %s); ledger %s",
            ", ".join(server.addresses),
            policy.digest[:12],
            len(policy.rules),
            policy.engine.name,
            settings.ledger,
        )
        dispatcher = Dispatcher(ledger, channels, wall_clock_us, AlertCounts())
        housekeeping = [
            asyncio.create_task(_expire(ledger, clock)),
            asyncio.create_task(_prune(ledger, clock, settings.retention_days * DAY_US)),
            asyncio.create_task(_burn(ledger, clock)),
            asyncio.create_task(dispatcher.run()),
        ]
        await stopping.wait()
        log.info("stopping: calls in flight may take up to %g s", settings.grace_seconds)
        await server.stop(settings.grace_seconds)
        for task in housekeeping:
            task.cancel()
        await asyncio.gather(*housekeeping, return_exceptions=True)
    finally:
        await ledger.close()
    log.info("stopped")


def _clock(ledger_us: int) -> Clock:
    behind_us = ledger_us - wall_clock_us()
    if behind_us > 60 * SECOND_US:
        log.warning(
            "the clock is %d s behind the ledger's last entry: no window opens until it has"
            " caught up",
            behind_us // SECOND_US,
        )
    return never_back(wall_clock_us, ledger_us)


def _channels(settings: Settings) -> list[Channel]:
    """Open the channels that were asked for. Raises ValueError, which names the flag."""
    channels: list[Channel] = [LogChannel()]
    if bool(settings.alert_webhook) != bool(settings.alert_webhook_secret_file):
        raise ValueError("--alert-webhook and --alert-webhook-secret-file need each other")
    if settings.alert_webhook and settings.alert_webhook_secret_file:
        from sidecar.alerts import webhook  # noqa: PLC0415 - takes a while, and not all need it

        asyncio.get_running_loop().set_default_executor(webhook.ThreadsLeftBehind())
        with _naming("--alert-webhook-secret-file"):
            secret = webhook.read_secret(settings.alert_webhook_secret_file)
        with _naming("--alert-webhook"):
            channels.append(webhook.WebhookChannel(settings.alert_webhook, secret))
    if settings.alert_command:
        with _naming("--alert-command"):
            channels.append(CommandChannel(settings.alert_command))
    return channels


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None


async def _expire(ledger: Ledger, clock: Clock) -> None:
    while True:
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)
        try:
            while await ledger.expire(clock()):
                pass
        except LedgerUnavailableError as error:
            log.warning("holds that are due stay open for now: %s", error)


async def _prune(ledger: Ledger, clock: Clock, retention_us: int) -> None:
    while True:
        await asyncio.sleep(PRUNE_EVERY_SECONDS)
        try:
            while await ledger.prune(clock(), retention_us):
                pass
        except LedgerUnavailableError as error:
            log.warning("old entries stay for now: %s", error)


async def _burn(ledger: Ledger, clock: Clock) -> None:
    while True:
        await asyncio.sleep(BURN_EVERY_SECONDS)
        try:
            await ledger.burn(clock())
        except LedgerUnavailableError as error:
            log.warning("spending is not watched for now: %s", error)
