"""Options of `sidecar serve` about front doors for existing systems."""

from typing import Annotated

import typer

_ADAPTERS = "Front doors"

ExtAuthzOption = Annotated[
    bool,
    typer.Option(
        "--ext-authz",
        envvar="SIDECAR_EXT_AUTHZ",
        help="Answer Envoy's external authorization, where apps ask.",
        rich_help_panel=_ADAPTERS,
    ),
]
ExtAuthzFromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ext-authz-from",
        envvar="SIDECAR_EXT_AUTHZ_FROM",
        metavar="FIELD=SOURCE",
        help="Where Envoy's question says who calls. FIELD: id, role, workspace, key_id, region"
        " or labels.NAME. SOURCE: header:NAME, which Envoy has to set, extension:NAME of the"
        " route's context, or peer. Repeatable; separated by spaces in the environment.",
        rich_help_panel=_ADAPTERS,
    ),
]
AuthZenListenOption = Annotated[
    str,
    typer.Option(
        "--authzen-listen",
        envvar="SIDECAR_AUTHZEN_LISTEN",
        metavar="ADDRESS",
        help="Answer AuthZEN over HTTP, at HOST:PORT or unix:PATH; on loopback, unless callers"
        " prove who they are.",
        show_default=False,
        rich_help_panel=_ADAPTERS,
    ),
]
AuthZenUrlOption = Annotated[
    str,
    typer.Option(
        "--authzen-url",
        envvar="SIDECAR_AUTHZEN_URL",
        metavar="URL",
        help="How callers reach it, for its metadata, where that is not the address itself.",
        show_default=False,
        rich_help_panel=_ADAPTERS,
    ),
]
