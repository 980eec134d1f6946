"""`sidecar serve`."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from sidecar.alerts.channels import AlertSettings
from sidecar.authorization.policy_reload import ReloadSettings
from sidecar.cli.adapter_options import (
    AuthZenListenOption,
    AuthZenUrlOption,
    ExtAuthzFromOption,
    ExtAuthzOption,
)
from sidecar.cli.identity_options import (
    AlgorithmOption,
    AudienceOption,
    ClaimOption,
    ClientCaOption,
    IdentityOption,
    IssuerOption,
    JwksCaOption,
    JwksOption,
    JwksTokenFileOption,
    MaxConnectionsOption,
    MaxRateOption,
    PinOption,
    SocketModeOption,
    TlsCertOption,
    TlsKeyOption,
    permissions,
    whole,
)
from sidecar.cli.mistral_options import MaybeAdminKeyFile
from sidecar.cli.options import (
    EngineName,
    EngineOption,
    LedgerFile,
    ShareOption,
    TimeZoneOption,
    fail,
    zone_info,
)
from sidecar.cli.policies import in_directory
from sidecar.cli.policy_options import (
    AdminListenOption,
    ReloadSecondsOption,
    RequireDigestOption,
    RequireSignatureOption,
)
from sidecar.cli.rotation_options import (
    PANEL,
    MaybePepperFile,
    RotationOptions,
    SinkOption,
    connected,
)
from sidecar.cli.telemetry_options import (
    DecisionLogFullOption,
    DecisionLogLabelOption,
    DecisionLogMaskOption,
    DecisionLogOption,
    HealthListenOption,
    LogAllowSampleOption,
    LogDecisionsOption,
    LogFormatOption,
    MetricsBudgetsOption,
    MetricsListenOption,
    TracesOption,
    telemetry_settings,
)
from sidecar.cli.variables import misspelt
from sidecar.domain.share import WHOLE
from sidecar.identity.settings import ALGORITHMS, IdentitySettings, Mode
from sidecar.keys.settings import ScheduleSettings
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.trust.requirement import TrustSettings
from sidecar.runtime import logs
from sidecar.runtime import serve as app
from sidecar.runtime.logs import LogFormat
from sidecar.runtime.settings import Settings
from sidecar.server.adapters import AdapterSettings
from sidecar.server.addresses import ListenError
from sidecar.server.listener import ListenerSettings
from sidecar.telemetry.decision_lines import Which
from sidecar.telemetry.line_queue import WhenFull


@connected
def serve(
    connection: RotationOptions,
    context: typer.Context,
    policies: Annotated[
        Path,
        typer.Option(
            envvar="SIDECAR_POLICIES", metavar="DIR", help="The directory of rules and data."
        ),
    ],
    ledger: LedgerFile,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SIDECAR_LISTEN",
            metavar="ADDRESS",
            help="HOST:PORT, or unix:PATH; on loopback, unless callers prove who they are."
            " Repeatable; separated by spaces in the environment. Port 0 takes a free one."
            " \\[default: 127.0.0.1:50051]",
        ),
    ] = None,
    engine: EngineOption = EngineName.CEL_CPP,
    share: ShareOption = WHOLE,
    time_zone: TimeZoneOption = "UTC",
    hold_ttl: Annotated[
        int,
        typer.Option(
            envvar="SIDECAR_HOLD_TTL",
            min=1,
            max=86_400,
            metavar="SECONDS",
            help="How long a hold waits for its Settle before it is charged in full.",
        ),
    ] = 600,
    retention_days: Annotated[
        int,
        typer.Option(
            envvar="SIDECAR_RETENTION_DAYS",
            min=1,
            max=3650,
            help="How long decisions are kept; what an open window needs always is.",
        ),
    ] = 35,
    reflection: Annotated[
        bool,
        typer.Option(
            "--reflection", envvar="SIDECAR_REFLECTION", help="Let grpcurl ask for the contract."
        ),
    ] = False,
    grace_seconds: Annotated[
        float,
        typer.Option(
            envvar="SIDECAR_GRACE_SECONDS", min=0, help="How long calls in flight may take at stop."
        ),
    ] = 10.0,
    alert_webhook: Annotated[
        str,
        typer.Option(
            envvar="SIDECAR_ALERT_WEBHOOK",
            metavar="URL",
            help="Where alerts are posted; https, or http on loopback.",
            show_default=False,
        ),
    ] = "",
    alert_webhook_secret_file: Annotated[
        Path | None,
        typer.Option(
            envvar="SIDECAR_ALERT_WEBHOOK_SECRET_FILE",
            metavar="FILE",
            help="The secret that posts are signed with.",
        ),
    ] = None,
    alert_command: Annotated[
        str,
        typer.Option(
            envvar="SIDECAR_ALERT_COMMAND",
            metavar="COMMAND",
            help="A command that reads each alert as JSON; run without a shell.",
            show_default=False,
        ),
    ] = "",
    identity: IdentityOption = Mode.POD,
    pin: PinOption = None,
    claim: ClaimOption = None,
    jwks: JwksOption = "",
    jwks_ca: JwksCaOption = None,
    jwks_token_file: JwksTokenFileOption = None,
    issuer: IssuerOption = "",
    audience: AudienceOption = "",
    algorithm: AlgorithmOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    client_ca: ClientCaOption = None,
    socket_mode: SocketModeOption = "0660",
    max_connections: MaxConnectionsOption = 512,
    max_rate: MaxRateOption = 0,
    reload_seconds: ReloadSecondsOption = 1.0,
    require_digest: RequireDigestOption = None,
    require_signature: RequireSignatureOption = None,
    admin_listen: AdminListenOption = "",
    health_listen: HealthListenOption = "",
    metrics_listen: MetricsListenOption = "",
    metrics_budgets: MetricsBudgetsOption = 200,
    traces: TracesOption = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_decisions: LogDecisionsOption = Which.NONE,
    log_allow_sample: LogAllowSampleOption = 1.0,
    decision_log: DecisionLogOption = "",
    decision_log_full: DecisionLogFullOption = WhenFull.DROP,
    decision_log_mask: DecisionLogMaskOption = None,
    decision_log_label: DecisionLogLabelOption = None,
    rotate_keys_days: Annotated[
        int,
        typer.Option(
            envvar="SIDECAR_ROTATE_KEYS_DAYS",
            min=0,
            max=3650,
            help="Rotate the active keys of the data files at this age; 0 is never.",
            rich_help_panel=PANEL,
        ),
    ] = 0,
    key_sink: SinkOption = "",
    key_pepper_file: MaybePepperFile = None,
    mistral_admin_key_file: MaybeAdminKeyFile = None,
    ext_authz: ExtAuthzOption = False,
    ext_authz_from: ExtAuthzFromOption = None,
    authzen_listen: AuthZenListenOption = "",
    authzen_url: AuthZenUrlOption = "",
) -> None:
    """Answer apps until SIGTERM.

    Example: sidecar serve --policies policies --ledger ledger.sqlite
    --listen 127.0.0.1:50051 --listen unix:/run/sidecar/sidecar.sock
    """
    zone_info(time_zone)
    trust = TrustSettings(tuple(require_digest or ()), tuple(require_signature or ()))
    settings = Settings(
        policies=policies,
        ledger=ledger,
        listen=listen or ["127.0.0.1:50051"],
        engine=engine.value,
        share=share,
        time_zone=time_zone,
        hold_ttl_seconds=hold_ttl,
        retention_days=retention_days,
        reflection=reflection,
        grace_seconds=grace_seconds,
        alerts=AlertSettings(alert_webhook, alert_webhook_secret_file, alert_command),
        identity=IdentitySettings(
            mode=identity,
            pins=pin or (),
            claims=whole(claim or ()),
            issuer=issuer,
            audience=audience,
            jwks=jwks,
            jwks_ca=jwks_ca,
            jwks_token_file=jwks_token_file,
            algorithms=algorithm or ALGORITHMS,
            tls_cert=tls_cert,
            tls_key=tls_key,
            client_ca=client_ca,
            max_rate=max_rate,
        ),
        listeners=ListenerSettings(permissions(socket_mode), max_connections),
        admin_listen=admin_listen,
        reloads=ReloadSettings(reload_seconds, trust),
        health_listen=health_listen,
        telemetry=telemetry_settings(
            metrics_listen=metrics_listen,
            metrics_budgets=metrics_budgets,
            traces=traces,
            log_decisions=log_decisions,
            log_allow_sample=log_allow_sample,
            decision_log=decision_log,
            decision_log_full=decision_log_full,
            decision_log_mask=decision_log_mask,
            decision_log_label=decision_log_label,
        ),
        rotation=_rotation(
            connection, rotate_keys_days, key_sink, key_pepper_file, mistral_admin_key_file
        ),
        adapters=AdapterSettings(ext_authz, ext_authz_from or (), authzen_listen, authzen_url),
    )
    try:
        with logs.to_standard_error(log_format) as log:
            for problem in misspelt(context):
                logging.getLogger(__name__).warning(problem)
            asyncio.run(app.serve(settings, lambda: log.dropped))
    except PolicyError as error:
        problems = "\n".join(str(in_directory(policies, problem)) for problem in error.problems)
        raise fail(f"the policies in {policies} cannot be used:\n{problems}") from None
    except LedgerRefusedError as error:
        raise fail(error) from None
    except ListenError as error:
        raise fail(f"--listen {error}", 2) from None
    except ValueError as error:
        raise fail(error, 2) from None


def _rotation(
    connection: RotationOptions,
    every_days: int,
    sink: str,
    pepper_file: Path | None,
    admin_key_file: Path | None,
) -> ScheduleSettings | None:
    """Return how to rotate keys, None for not at all."""
    if not every_days:
        return None
    if admin_key_file is None or pepper_file is None or not sink:
        needed = "--mistral-admin-key-file, --key-sink and --key-pepper-file"
        raise fail(f"--rotate-keys-days needs {needed}", 2)
    return ScheduleSettings(
        every_days,
        admin_key_file,
        sink,
        pepper_file,
        connection.mistral,
        connection.kubernetes,
        connection.timings,
    )
