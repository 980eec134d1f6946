"""Options of `sidecar serve` about policies that change, and whom it takes them from."""

from pathlib import Path
from typing import Annotated

import typer

ReloadSecondsOption = Annotated[
    float,
    typer.Option(
        envvar="SIDECAR_RELOAD_SECONDS",
        min=0,
        max=3600,
        help="How often to look for changed policies; 0 is never, but on SIGHUP.",
    ),
]
RequireDigestOption = Annotated[
    list[str] | None,
    typer.Option(
        envvar="SIDECAR_REQUIRE_DIGEST",
        metavar="SHA256",
        help="Refuse any other set of policies, at start and later. Repeatable.",
    ),
]
RequireSignatureOption = Annotated[
    list[Path] | None,
    typer.Option(
        envvar="SIDECAR_REQUIRE_SIGNATURE",
        metavar="PUBLIC_KEY",
        help="Refuse policies that are not signed with this key, at start and later. Repeatable.",
    ),
]
AdminListenOption = Annotated[
    str,
    typer.Option(
        envvar="SIDECAR_ADMIN_LISTEN",
        metavar="ADDRESS",
        help="Where operators reach the admin service: unix:PATH, or HOST:PORT on loopback."
        " Nowhere if left out.",
        show_default=False,
    ),
]
