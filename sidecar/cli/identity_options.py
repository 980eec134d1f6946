"""Options of `sidecar serve` about who calls, and what callers may do to the listeners."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sidecar.identity.settings import ALGORITHMS, Mode

_WHO, _LISTENERS = "Who is calling", "Listeners"
_BEGINS_ONE = re.compile(r"\w+=(?!=)")


IdentityOption = Annotated[
    Mode,
    typer.Option(
        "--identity",
        envvar="SIDECAR_IDENTITY",
        help="How callers prove who they are: pod, not at all, only what is on this host can"
        " call; token, by a JWT; mtls, by a client certificate.",
        rich_help_panel=_WHO,
    ),
]
PinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        envvar="SIDECAR_PIN",
        metavar="FIELD=VALUE",
        help="What the deployment knows of every caller: id, role, workspace or key_id. Fills"
        " what a request leaves out; one that says something else is denied. Repeatable;"
        " separated by spaces in the environment.",
        rich_help_panel=_WHO,
    ),
]
ClaimOption = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        envvar="SIDECAR_CLAIM",
        metavar="FIELD=CEL",
        help="What a token or a certificate proves, as CEL over `claims`: id=claims.sub, or"
        " id=claims.san_uri. Repeatable; separated by spaces in the environment.",
        rich_help_panel=_WHO,
    ),
]
JwksOption = Annotated[
    str,
    typer.Option(
        "--jwks",
        envvar="SIDECAR_JWKS",
        metavar="FILE|URL",
        help="The keys that tokens are signed with; https, or http on loopback.",
        show_default=False,
        rich_help_panel=_WHO,
    ),
]
JwksCaOption = Annotated[
    Path | None,
    typer.Option(
        "--jwks-ca",
        envvar="SIDECAR_JWKS_CA",
        metavar="FILE",
        help="The CA of the URL, in PEM, where it is not one of the system's.",
        rich_help_panel=_WHO,
    ),
]
JwksTokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--jwks-token-file",
        envvar="SIDECAR_JWKS_TOKEN_FILE",
        metavar="FILE",
        help="The bearer token to ask the URL with.",
        rich_help_panel=_WHO,
    ),
]
IssuerOption = Annotated[
    str,
    typer.Option(
        "--issuer",
        envvar="SIDECAR_ISSUER",
        metavar="TEXT",
        help="What a token's iss has to be.",
        show_default=False,
        rich_help_panel=_WHO,
    ),
]
AudienceOption = Annotated[
    str,
    typer.Option(
        "--audience",
        envvar="SIDECAR_AUDIENCE",
        metavar="TEXT",
        help="What has to be in a token's aud.",
        show_default=False,
        rich_help_panel=_WHO,
    ),
]
AlgorithmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--algorithm",
        envvar="SIDECAR_ALGORITHM",
        metavar="NAME",
        help="How tokens may be signed, by key pairs alone. Repeatable; separated by spaces in"
        f" the environment. \\[default: {' '.join(ALGORITHMS)}]",
        rich_help_panel=_WHO,
    ),
]
TlsCertOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        envvar="SIDECAR_TLS_CERT",
        metavar="FILE",
        help="The sidecar's certificate and its chain, in PEM: TCP listeners then speak TLS."
        " Read again when it changes.",
        rich_help_panel=_LISTENERS,
    ),
]
TlsKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        envvar="SIDECAR_TLS_KEY",
        metavar="FILE",
        help="Its private key, in PEM.",
        rich_help_panel=_LISTENERS,
    ),
]
ClientCaOption = Annotated[
    Path | None,
    typer.Option(
        "--client-ca",
        envvar="SIDECAR_CLIENT_CA",
        metavar="FILE",
        help="Who signs the certificates of callers, for --identity mtls, in PEM.",
        rich_help_panel=_LISTENERS,
    ),
]
SocketModeOption = Annotated[
    str,
    typer.Option(
        "--socket-mode",
        envvar="SIDECAR_SOCKET_MODE",
        metavar="OCTAL",
        help="The permissions of Unix sockets. Whoever may write may call.",
        rich_help_panel=_LISTENERS,
    ),
]
MaxConnectionsOption = Annotated[
    int,
    typer.Option(
        "--max-connections",
        envvar="SIDECAR_MAX_CONNECTIONS",
        min=1,
        max=100_000,
        help="How many connections one listener has at a time.",
        rich_help_panel=_LISTENERS,
    ),
]
MaxRateOption = Annotated[
    float,
    typer.Option(
        "--max-rate",
        envvar="SIDECAR_MAX_RATE",
        min=0,
        metavar="N",
        help="How many questions a second one principal's id may ask; 0 is any number. It may"
        " save up those of one second.",
        rich_help_panel=_LISTENERS,
    ),
]


def permissions(text: str) -> int:
    """Read permissions in octal."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        message = "give permissions in octal, as in 0660"
        raise typer.BadParameter(message, param_hint="--socket-mode")
    return int(text, 8)


def whole(pieces: Sequence[str]) -> list[str]:
    """Put FIELD=CEL together again that spaces in the environment have separated."""
    claims: list[str] = []
    for piece in pieces:
        if claims and not _BEGINS_ONE.match(piece):
            claims[-1] += f" {piece}"
        else:
            claims.append(piece)
    return claims
