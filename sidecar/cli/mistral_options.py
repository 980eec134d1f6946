"""Options of the commands that use Mistral's admin API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sidecar.cli.options import fail, option
from sidecar.keys.api_variants import MistralSettings
from sidecar.keys.secret import read_secret
from sidecar.keys.settings import ADMIN_KEY_FILE

if TYPE_CHECKING:
    from sidecar.keys.mistral import Mistral

AdminKeyFile = Annotated[Path, option(ADMIN_KEY_FILE, ADMIN_KEY_FILE.panel)]


def open_mistral(settings: MistralSettings, admin_key_file: Path) -> "Mistral":
    """Open the client of Mistral's admin API, or print the error and exit 2.

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
