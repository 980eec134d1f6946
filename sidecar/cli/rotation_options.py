"""The options of every command that rotates keys: how Mistral is spoken to, and how fast."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.mistral_options import MistralAuth, MistralPath, MistralShape, MistralUrl
from sidecar.domain.clock import SECOND_US
from sidecar.domain.rotation import Grace
from sidecar.keys.api_variants import URL, ApiVariantName, Auth, MistralSettings
from sidecar.keys.settings import KubernetesSettings, Timings

PACE, CLUSTER = Timings(), KubernetesSettings()


PANEL = "Rotation of keys"

SinkOption = Annotated[
    str,
    typer.Option(
        "--key-sink",
        envvar="SIDECAR_KEY_SINK",
        metavar="KIND:PLACE",
        help="Where apps find the secret: file:PATH, bare-file:PATH, kubernetes:NAMESPACE/NAME or"
        " command:COMMAND; {key} stands for the key's id.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]

_PEPPER = typer.Option(
    "--key-pepper-file",
    envvar="SIDECAR_KEY_PEPPER_FILE",
    metavar="FILE",
    help="A random text that only you have, of 16 bytes or more. What the ledger keeps of a"
    " secret is an HMAC-SHA256 with it.",
    show_default=False,
    rich_help_panel=PANEL,
)
PepperFile = Annotated[Path, _PEPPER]
MaybePepperFile = Annotated[Path | None, _PEPPER]


@dataclass(frozen=True, slots=True)
class RotationOptions:
    """How the others are spoken to, and how long they may take."""

    mistral: MistralSettings
    kubernetes: KubernetesSettings
    timings: Timings


def _flag(name: str, say: str, metavar: str | None = None, at_least: float | None = None) -> Any:
    envvar = "SIDECAR_" + name.strip("-").replace("-", "_").upper()
    return typer.Option(
        name, envvar=envvar, help=say, metavar=metavar, min=at_least, rich_help_panel=PANEL
    )


def _connection(
    mistral_url: MistralUrl = URL,
    mistral_shape: MistralShape = ApiVariantName.ADMIN,
    mistral_keys_path: MistralPath = "",
    mistral_auth: MistralAuth = Auth.BEARER,
    kubernetes_url: Annotated[
        str, _flag("--kubernetes-url", "Where the cluster's API is.", "URL")
    ] = CLUSTER.url,
    kubernetes_token: Annotated[
        Path, _flag("--kubernetes-token-file", "The token of the service account.", "FILE")
    ] = CLUSTER.token_file,
    kubernetes_ca: Annotated[
        Path, _flag("--kubernetes-ca-file", "The certificates that vouch for the cluster.", "FILE")
    ] = CLUSTER.ca_file,
    propagation: Annotated[
        float, _flag("--propagation-seconds", "Apps need so long to find a new secret.", None, 0)
    ] = PACE.propagation_seconds,
    verify: Annotated[
        float, _flag("--verify-seconds", "Mistral has so long to take a new key.", None, 0)
    ] = PACE.verify_seconds,
    consistency: Annotated[
        float, _flag("--consistency-seconds", "It needs so long to list a new key.", None, 0)
    ] = PACE.consistency_seconds,
    look: Annotated[
        float, _flag("--look-seconds", "Between two looks at what is waited for.", None, 0.01)
    ] = PACE.look_seconds,
    lease: Annotated[
        float, _flag("--lease-seconds", "Whoever dies keeps others out so long.", None, 0.1)
    ] = PACE.lease_seconds,
    grace: Annotated[
        float,
        _flag(
            "--grace-after-use-seconds", "The old key outlives the new one's first use.", None, 0
        ),
    ] = PACE.grace.after_first_use_us / SECOND_US,
    grace_at_most: Annotated[
        float, _flag("--grace-at-most-seconds", "Or the switch, if no use is seen.", None, 0)
    ] = PACE.grace.at_most_us / SECOND_US,
) -> RotationOptions:
    """Read the options."""
    old_key = Grace(round(grace * SECOND_US), round(grace_at_most * SECOND_US))
    return RotationOptions(
        MistralSettings(mistral_url, mistral_shape, mistral_keys_path, mistral_auth),
        KubernetesSettings(kubernetes_url, kubernetes_token, kubernetes_ca),
        Timings(propagation, verify, consistency, look, lease, old_key),
    )


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a Connection, the options that make one."""
    shared = inspect.signature(_connection).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def with_connection(**options: Any) -> None:
        command(_connection(**{name: options.pop(name) for name in shared}), **options)

    every = [*own, *shared.values()]
    every.sort(key=lambda one: one.default is not one.empty)  # what has no default comes first
    with_connection.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_connection.__annotations__ = {one.name: one.annotation for one in every}
    return with_connection
