"""Settings of authentication, checked together."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sidecar.domain.flag_errors import naming
from sidecar.domain.flags import setting
from sidecar.identity.caller import Authenticator
from sidecar.identity.pins import PinnedAuthenticator, Pins, read_pins
from sidecar.identity.rate import Rate

if TYPE_CHECKING:
    from sidecar.identity.certificates import TlsContent
    from sidecar.identity.jwks import Load
    from sidecar.identity.proofs import ClaimMapping

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256", "EdDSA")


DENIAL_BURST = 100
"""Denials of one caller that are recorded at once, such as of an app at the end of its budget."""


class Mode(StrEnum):
    """The ways of authentication."""

    POD = "pod"
    """None: callers are in the same pod."""
    TOKEN = "token"  # noqa: S105 - a mode
    MTLS = "mtls"


class Unproven(StrEnum):
    """What happens to a field of the principal whose claim yields nothing."""

    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How callers authenticate."""

    PANEL: ClassVar = "Authentication of callers"
    mode: Mode = setting(
        "--identity",
        "How callers authenticate: pod, they do not, and only this host can call; token, with a"
        " JWT; mtls, with a client certificate.",
        default=Mode.POD,
    )
    pins: Sequence[str] = setting(
        "--pin",
        "A value that every caller has, as in workspace=ml: id, role, workspace or key_id. It"
        " fills in what a request leaves out; a request with another value is denied. Repeatable;"
        " separated by spaces in the variable.",
        "FIELD=VALUE",
        default=(),
    )
    claims: Sequence[str] = setting(
        "--claim",
        "A field of the principal from a token or a certificate, as CEL over `claims`:"
        " id=claims.sub, or id=claims.san_uri. Repeatable; separated by spaces in the variable.",
        "FIELD=CEL",
        default=(),
    )
    unproven: Unproven = setting(
        "--unproven",
        'A caller for whom a --claim yields "": deny refuses it; allow takes the app\'s own word'
        " for that field. The id has to be proven.",
        default=Unproven.DENY,
    )
    jwks: str = setting(
        "--jwks",
        "The keys that verify tokens; an https URL, or http on loopback.",
        "FILE|URL",
        default="",
    )
    jwks_ca: Path | None = setting(
        "--jwks-ca",
        "The CA of the JWKS URL, in PEM; the system's CAs if left out.",
        "FILE",
        default=None,
    )
    jwks_token_file: Path | None = setting(
        "--jwks-token-file", "A bearer token for the JWKS URL.", "FILE", default=None
    )
    issuer: str = setting(
        "--issuer", "The issuer (iss) that a token must have.", "TEXT", default=""
    )
    audience: str = setting(
        "--audience", "The audience that a token's aud must contain.", "TEXT", default=""
    )
    algorithms: Sequence[str] = setting(
        "--algorithm",
        "A signature algorithm to accept in tokens; asymmetric ones only. Repeatable; separated"
        " by spaces in the variable.",
        "NAME",
        default=ALGORITHMS,
    )
    tls_cert: Path | None = setting(
        "--tls-cert",
        "The sidecar's certificate and its chain, in PEM: TCP listeners then use TLS. Read again"
        " when it changes.",
        "FILE",
        default=None,
        panel="Listeners",
    )
    tls_key: Path | None = setting(
        "--tls-key",
        "The certificate's private key, in PEM.",
        "FILE",
        default=None,
        panel="Listeners",
    )
    client_ca: Path | None = setting(
        "--client-ca",
        "The CA of client certificates, in PEM; for --identity mtls.",
        "FILE",
        default=None,
        panel="Listeners",
    )
    max_rate: float = setting(
        "--max-rate",
        "How many requests a second one principal may make, with bursts of one second's worth; 0"
        " is no limit.",
        "N",
        default=0,
        min=0,
        panel="Listeners",
    )

    max_denial_rate: float = setting(
        "--max-denial-rate",
        "How many denials a second are recorded of one caller that proves its identity, with bursts"
        f" of {DENIAL_BURST}; beyond them only calls that would be allowed are decided; 0 is no"
        " limit.",
        "N",
        default=5,
        min=0,
        panel="Listeners",
    )

    @property
    def proves_elsewhere(self) -> bool:
        """Whether callers on other machines are authenticated, over an encrypted connection."""
        return self.mode is not Mode.POD and self.tls_cert is not None


async def open_authenticator(settings: IdentitySettings) -> Authenticator:
    """Return the authenticator of the settings. Raises ValueError, which names the flag."""
    with naming("--pin"):
        pins = read_pins(settings.pins)
    _check_together(settings)
    if settings.mode is Mode.POD:
        return PinnedAuthenticator(pins)
    # Imported here because they are slow, and most deployments do not need them.
    from sidecar.identity.proofs import read_mapping  # noqa: PLC0415

    with naming("--claim"):
        allows = settings.unproven is Unproven.ALLOW
        mapping = read_mapping(settings.claims, allows_unproven=allows)
    _warn_of_unproven(mapping, pins)
    if settings.mode is Mode.MTLS:
        from sidecar.identity.certificates import CertificateVerifier  # noqa: PLC0415

        return CertificateVerifier(mapping, pins)
    from sidecar.identity import tokens  # noqa: PLC0415
    from sidecar.identity.jwks import Jwks  # noqa: PLC0415

    if unknown := set(settings.algorithms) - tokens.ASYMMETRIC:
        raise ValueError(
            f"--algorithm {min(unknown)}: only signatures by key pairs are allowed:"
            f" {', '.join(sorted(tokens.ASYMMETRIC))}"
        )
    expected = tokens.Expected(
        settings.issuer, settings.audience, frozenset(settings.algorithms or ALGORITHMS)
    )
    jwks = Jwks(_load(settings))
    await jwks.read()  # errors are logged, as the provider may be back before the first call
    return tokens.TokenVerifier(jwks, expected, mapping, pins)


def _warn_of_unproven(mapping: "ClaimMapping", pins: Pins) -> None:
    fields = [name for name in mapping.expressions if name != "id" and name not in pins]
    if fields and mapping.allows_unproven:
        log.warning(
            "--unproven allow: where its claim yields nothing, %s is the app's own word",
            " or ".join(fields),
        )


def open_tls(settings: IdentitySettings) -> "Callable[[], TlsContent] | None":
    """Return a function that reads the certificates, None without TLS. Raises ValueError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    from sidecar.identity.certificates import TlsFiles, read_tls  # noqa: PLC0415

    return partial(read_tls, TlsFiles(settings.tls_cert, settings.tls_key, settings.client_ca))


def open_rate(settings: IdentitySettings) -> Rate | None:
    """Return the rate limit, None without one."""
    return Rate(settings.max_rate) if settings.max_rate else None


def open_denial_rate(settings: IdentitySettings) -> Rate | None:
    """Return the rate of denials, None without one."""
    per_second = settings.max_denial_rate
    return Rate(per_second, burst=DENIAL_BURST) if per_second else None


def _check_together(settings: IdentitySettings) -> None:
    """Raise ValueError for a flag that the mode needs or does not use."""
    of_tokens = {
        "--jwks": settings.jwks,
        "--issuer": settings.issuer,
        "--audience": settings.audience,
    }
    if settings.mode is Mode.TOKEN:
        missing = [flag for flag, value in of_tokens.items() if not value]
        if missing:
            raise ValueError(f"--identity token needs {' and '.join(missing)}")
    elif useless := [flag for flag, value in of_tokens.items() if value]:
        raise ValueError(f"{useless[0]} needs --identity token")
    if settings.mode is Mode.POD:
        for flag, given in (
            ("--claim", settings.claims),
            ("--unproven", settings.unproven is Unproven.ALLOW),
        ):
            if given:
                raise ValueError(f"{flag} needs --identity token or --identity mtls")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ValueError("--tls-cert and --tls-key need each other")
    if settings.mode is Mode.MTLS and (settings.client_ca is None or settings.tls_cert is None):
        raise ValueError("--identity mtls needs --tls-cert, --tls-key and --client-ca")
    if settings.mode is not Mode.MTLS and settings.client_ca is not None:
        raise ValueError("--client-ca needs --identity mtls")


def _load(settings: IdentitySettings) -> "Load":
    from sidecar.identity import jwks  # noqa: PLC0415
    from sidecar.web.client import Client, DaemonThreadExecutor  # noqa: PLC0415

    if "://" in settings.jwks:
        asyncio.get_running_loop().set_default_executor(DaemonThreadExecutor())
        with naming("--jwks"):
            client = Client(settings.jwks, jwks.TIMEOUT_SECONDS, settings.jwks_ca)
        return jwks.from_url(client, settings.jwks_token_file)
    path = Path(settings.jwks)
    with naming(f"--jwks {path}"):
        jwks.read_jwks(jwks.read_bounded(path))
    return jwks.from_file(path)
