"""All that `sidecar serve` can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from sidecar.alerts.channels import AlertSettings
from sidecar.authorization.policy_reload import ReloadSettings
from sidecar.domain.share import WHOLE, Share
from sidecar.identity.settings import IdentitySettings
from sidecar.keys.settings import ScheduleSettings
from sidecar.server.adapters import AdapterSettings
from sidecar.server.listener import ListenerSettings
from sidecar.telemetry.setup import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, by flags and variables."""

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
    adapters: AdapterSettings = field(default_factory=AdapterSettings)
