"""All settings of `sidecar serve`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.alerts.channels import AlertSettings
from sidecar.authorization.policy_reload import ReloadSettings
from sidecar.authorization.usage_bounds import UsageBounds
from sidecar.domain.flags import flagged, setting
from sidecar.domain.share import WHOLE, Share
from sidecar.identity.settings import IdentitySettings
from sidecar.keys.settings import ScheduleSettings
from sidecar.ledger.denials import DEFAULT_MAX_DENIALS
from sidecar.runtime.logs import LogFormat
from sidecar.runtime.shared_flags import (
    CONFIRM_CLOCK,
    ENGINE,
    FLEET_URL_FILE,
    LEDGER,
    POLICIES,
    SHARE,
    TIME_ZONE,
    EngineName,
)
from sidecar.server.adapters import AdapterSettings
from sidecar.server.listener import ListenerSettings
from sidecar.telemetry.setup import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of `sidecar serve`, from flags, variables and the settings file."""

    policies: Path = flagged(POLICIES)
    ledger: Path = flagged(LEDGER)
    listen: Sequence[str] = setting(
        "--listen",
        "Where apps connect: HOST:PORT or unix:PATH. Only loopback, unless callers authenticate."
        " Port 0 picks a free one. Repeatable; separated by spaces in the variable.",
        "ADDRESS",
        default=("127.0.0.1:50051",),
    )
    engine: EngineName = flagged(ENGINE, EngineName.CEL_CPP)
    share: Share = flagged(SHARE, WHOLE)
    fleet_url_file: Path | None = flagged(FLEET_URL_FILE, None)
    time_zone: str = flagged(TIME_ZONE, "UTC")
    require_ledger: bool = setting(
        "--require-ledger",
        "Do not start where there is no ledger yet: a new one has full budgets. For every start"
        " but the first.",
        default=False,
    )
    ledger_marker: Path | None = setting(
        "--ledger-marker",
        "A file outside of the ledger's folder, which the first start makes, and which names the"
        " ledger. From then on a start without that ledger is refused: a new one has full budgets.",
        "FILE",
        default=None,
    )
    confirm_clock: str = flagged(CONFIRM_CLOCK, "")
    hold_ttl_seconds: int = setting(
        "--hold-ttl",
        "How long a hold waits for its Settle before it is charged in full.",
        "SECONDS",
        default=600,
        min=1,
        max=86_400,
    )
    retention_days: int = setting(
        "--retention-days",
        "How long decisions are kept; budgets keep what older calls were charged.",
        default=35,
        min=1,
        max=3650,
    )
    max_denials: int = setting(
        "--max-denials",
        "How many denials are kept: the oldest make room for new ones.",
        "COUNT",
        default=DEFAULT_MAX_DENIALS,
        min=1,
        max=10_000_000,
    )
    reflection: bool = setting(
        "--reflection", "Enable gRPC reflection, as for grpcurl.", default=False
    )
    grace_seconds: float = setting(
        "--grace-seconds", "How long calls in flight may take at shutdown.", default=10.0, min=0
    )
    reloads: ReloadSettings = field(default_factory=ReloadSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    listeners: ListenerSettings = field(default_factory=ListenerSettings)
    admin_listen: str = setting(
        "--admin-listen",
        "Where operators reach the admin service: unix:PATH, or HOST:PORT on loopback. Off if"
        " left out.",
        "ADDRESS",
        default="",
        panel=ListenerSettings.PANEL,
    )
    alerts: AlertSettings = field(default_factory=AlertSettings)
    health_listen: str = setting(
        "--health-listen",
        "Where probes reach the health service, and nothing else; any address, as in 0.0.0.0:8086.",
        "HOST:PORT",
        default="",
        panel=TelemetrySettings.PANEL,
    )
    log_format: LogFormat = setting(
        "--log-format",
        "The format of the log.",
        default=LogFormat.TEXT,
        panel=TelemetrySettings.PANEL,
    )
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    rotation: ScheduleSettings = field(default_factory=ScheduleSettings)
    adapters: AdapterSettings = field(default_factory=AdapterSettings)
    usage: UsageBounds = field(default_factory=UsageBounds)
