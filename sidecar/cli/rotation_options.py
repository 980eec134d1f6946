"""The options that `sidecar keys create`, `rotate`, `rollback` and `abort` share."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sidecar.cli.mistral_options import (
    AdminKeyFile,
    MistralAuth,
    MistralPath,
    MistralShape,
    MistralUrl,
)
from sidecar.cli.options import Format, FormatOption, LedgerFile
from sidecar.domain.clock import SECOND_US
from sidecar.domain.rotation import Grace
from sidecar.keys.settings import KubernetesSettings, Pace
from sidecar.keys.shapes import URL, Auth, MistralSettings, ShapeName

PACE, CLUSTER = Pace(), KubernetesSettings()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works: the ledger, Mistral and the sink."""

    key_id: str
    ledger: Path
    mistral: MistralSettings
    admin_key_file: Path
    sink: str
    kubernetes: KubernetesSettings
    pace: Pace
    output: Format


def _place(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as in the data files.")],
    ledger: LedgerFile,
    mistral_admin_key_file: AdminKeyFile,
    sink: Annotated[
        str,
        typer.Option(
            envvar="SIDECAR_KEY_SINK",
            metavar="KIND:PLACE",
            help="Where apps find the secret: file:PATH, bare-file:PATH,"
            " kubernetes:NAMESPACE/NAME or command:COMMAND; {key} stands for KEY.",
        ),
    ],
    mistral_url: MistralUrl = URL,
    mistral_shape: MistralShape = ShapeName.ADMIN,
    mistral_keys_path: MistralPath = "",
    mistral_auth: MistralAuth = Auth.BEARER,
    kubernetes_url: Annotated[
        str,
        typer.Option(envvar="SIDECAR_KUBERNETES_URL", metavar="URL", help="The cluster's API."),
    ] = CLUSTER.url,
    kubernetes_token_file: Annotated[
        Path, typer.Option(envvar="SIDECAR_KUBERNETES_TOKEN_FILE", metavar="FILE", help="Ours.")
    ] = CLUSTER.token_file,
    kubernetes_ca_file: Annotated[
        Path, typer.Option(envvar="SIDECAR_KUBERNETES_CA_FILE", metavar="FILE", help="Its CA.")
    ] = CLUSTER.ca_file,
    propagation_seconds: Annotated[
        float, typer.Option(min=0, help="Apps need so long to find a new secret.")
    ] = PACE.propagation_seconds,
    verify_seconds: Annotated[
        float, typer.Option(min=0, help="Mistral has so long to take a new key.")
    ] = PACE.verify_seconds,
    consistency_seconds: Annotated[
        float, typer.Option(min=0, help="Mistral needs so long at most to list a new key.")
    ] = PACE.consistency_seconds,
    look_seconds: Annotated[
        float, typer.Option(min=0.01, help="Between two looks at what is waited for.")
    ] = PACE.look_seconds,
    lease_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Whoever dies keeps others out so long.")
    ] = PACE.lease_seconds,
    grace_seconds: Annotated[
        float, typer.Option(min=0, help="The old key lives so long after the new one's first use.")
    ] = PACE.grace.after_first_use_us / SECOND_US,
    grace_at_most_seconds: Annotated[
        float, typer.Option(min=0, help="And so long if no use of the new one is seen.")
    ] = PACE.grace.at_most_us / SECOND_US,
    output: FormatOption = Format.TEXT,
) -> Place:
    grace = Grace(round(grace_seconds * SECOND_US), round(grace_at_most_seconds * SECOND_US))
    return Place(
        key_id=key,
        ledger=ledger,
        mistral=MistralSettings(mistral_url, mistral_shape, mistral_keys_path, mistral_auth),
        admin_key_file=mistral_admin_key_file,
        sink=sink,
        kubernetes=KubernetesSettings(kubernetes_url, kubernetes_token_file, kubernetes_ca_file),
        pace=Pace(
            propagation_seconds, verify_seconds, consistency_seconds, look_seconds, lease_seconds,
            grace,
        ),
        output=output,
    )  # fmt: skip


def at_place(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a Place, the options that make one."""
    shared = inspect.signature(_place).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def with_place(**options: Any) -> None:
        place = _place(**{name: options.pop(name) for name in shared})
        command(place, **options)

    needed = [one for one in (*shared.values(), *own) if one.default is one.empty]
    others = [one for one in (*own, *shared.values()) if one.default is not one.empty]
    with_place.__signature__ = inspect.Signature([*needed, *others])  # type: ignore[attr-defined]
    with_place.__annotations__ = {one.name: one.annotation for one in (*needed, *others)}
    return with_place
