"""Options of the commands that speak to Mistral's administration of keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.options import fail
from sidecar.keys.api_variants import ApiVariantName, Auth, MistralSettings
from sidecar.keys.secret import read_secret

if TYPE_CHECKING:
    from sidecar.keys.mistral import Mistral

_ADMIN_KEY_FILE = typer.Option(
    "--mistral-admin-key-file",
    envvar="SIDECAR_MISTRAL_ADMIN_KEY_FILE",
    metavar="FILE",
    help="The admin key of the organization at Mistral.",
)
AdminKeyFile = Annotated[Path, _ADMIN_KEY_FILE]
MaybeAdminKeyFile = Annotated[Path | None, _ADMIN_KEY_FILE]
MistralUrl = Annotated[
    str,
    typer.Option(
        "--mistral-url",
        envvar="SIDECAR_MISTRAL_URL",
        metavar="URL",
        help="Where Mistral is; https, or http on loopback.",
    ),
]
MistralShape = Annotated[
    ApiVariantName,
    typer.Option(
        "--mistral-shape",
        envvar="SIDECAR_MISTRAL_SHAPE",
        help="Which of the two described shapes of its administration to speak.",
    ),
]
MistralPath = Annotated[
    str,
    typer.Option(
        "--mistral-keys-path",
        envvar="SIDECAR_MISTRAL_KEYS_PATH",
        metavar="PATH",
        help="Where keys are, if not where the shape has them.",
        show_default=False,
    ),
]
MistralAuth = Annotated[
    Auth,
    typer.Option(
        "--mistral-auth",
        envvar="SIDECAR_MISTRAL_AUTH",
        help="Which header carries the admin key.",
    ),
]


def open_mistral(settings: MistralSettings, admin_key_file: Path) -> "Mistral":
    """Open the client, or print what is wrong with an option and exit 2.

    Belongs to the running event loop.
    """
    from sidecar.keys.mistral import Mistral  # noqa: PLC0415 - takes a while, and not all need it

    try:
        admin_key = read_secret(admin_key_file)
    except ValueError as error:
        raise fail(f"--mistral-admin-key-file: {error}", 2) from None
    try:
        return Mistral(settings, admin_key)
    except ValueError as error:
        raise fail(f"--mistral-url: {error}", 2) from None
