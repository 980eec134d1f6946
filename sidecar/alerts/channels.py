"""The settings of alert channels, and their factory."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sidecar.alerts.channel import Channel, LogChannel
from sidecar.alerts.command import CommandChannel
from sidecar.domain.flag_errors import naming
from sidecar.domain.flags import setting


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where alerts go, beside the log."""

    PANEL: ClassVar = "Alerts"
    webhook: str = setting(
        "--alert-webhook", "Where alerts are posted; https, or http on loopback.", "URL", default=""
    )
    webhook_secret_file: Path | None = setting(
        "--alert-webhook-secret-file", "The secret that signs the posts.", "FILE", default=None
    )
    command: str = setting(
        "--alert-command",
        "A command that gets each alert as JSON on its input; run without a shell.",
        "COMMAND",
        default="",
    )


def open_channels(settings: AlertSettings) -> list[Channel]:
    """Open the log channel and those of the settings.

    Belongs to the running event loop. Raises ValueError, which names the flag.
    """
    channels: list[Channel] = [LogChannel()]
    if bool(settings.webhook) != bool(settings.webhook_secret_file):
        raise ValueError("--alert-webhook and --alert-webhook-secret-file need each other")
    if settings.webhook and settings.webhook_secret_file:
        # Imported here because it is slow, and most deployments do not need it.
        from sidecar.alerts import webhook  # noqa: PLC0415
        from sidecar.web.client import DaemonThreadExecutor  # noqa: PLC0415

        asyncio.get_running_loop().set_default_executor(DaemonThreadExecutor())
        with naming("--alert-webhook-secret-file"):
            secret = webhook.read_secret(settings.webhook_secret_file)
        with naming("--alert-webhook"):
            channels.append(webhook.WebhookChannel(settings.webhook, secret))
    if settings.command:
        with naming("--alert-command"):
            channels.append(CommandChannel(settings.command))
    return channels
