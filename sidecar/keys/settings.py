"""Settings, errors and progress callbacks of rotations."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, ParamSpec, Protocol, TypeVar

from sidecar.domain.clock import SECOND_US
from sidecar.domain.flags import Flag, flagged, setting
from sidecar.domain.rotation import Grace, KeyRotation
from sidecar.keys.api_variants import MistralSettings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

PANEL = "Rotation of keys"

ADMIN_KEY_FILE = Flag(
    "--mistral-admin-key-file",
    "The organization's admin key at Mistral.",
    "FILE",
    panel=MistralSettings.PANEL,
)
SINK = Flag(
    "--key-sink",
    "Where apps read the secret: file:PATH, bare-file:PATH, kubernetes:NAMESPACE/NAME or"
    " command:COMMAND; {key} stands for the key's id.",
    "KIND:PLACE",
    panel=PANEL,
)
PEPPER_FILE = Flag(
    "--key-pepper-file",
    "A random text of 16 bytes or more that only you have: the ledger keeps an HMAC-SHA256 of"
    " each secret with it.",
    "FILE",
    panel=PANEL,
)

P = ParamSpec("P")
T = TypeVar("T")


class RotationError(Exception):
    """A rotation cannot begin or continue. The text says why, and what to do."""


class StillInUseError(RotationError):
    """The grace period has ended, and the old key is still used: apps have to change first.

    The schedule logs it as it is, since the rotation itself has not failed.
    """

    def __init__(self, old: str, new: str) -> None:
        """Name both versions."""
        super().__init__(
            f"{old} should be revoked, and is still in use: find the app that does not read {new}"
            " from the sink, and run this again; --force revokes it anyway"
        )


class UsesUnknownError(RotationError):
    """It is not known which sidecars still use the old key, so it is not revoked."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long the steps of a rotation may take, in seconds."""

    PANEL: ClassVar = PANEL
    propagation_seconds: float = setting(
        "--propagation-seconds", "How long apps take to find a new secret.", default=60.0, min=0
    )
    verify_seconds: float = setting(
        "--verify-seconds", "How long Mistral may take to accept a new key.", default=120.0, min=0
    )
    consistency_seconds: float = setting(
        "--consistency-seconds", "How long Mistral may take to list a new key.", default=30.0, min=0
    )
    poll_interval_seconds: float = setting(
        "--look-seconds",
        "The interval between two checks while a step waits.",
        default=5.0,
        min=0.01,
    )
    lease_seconds: float = setting(
        "--lease-seconds",
        "After a crash, how long until another process may go on with the rotation.",
        default=60.0,
        min=0.1,
    )
    grace_after_use_seconds: float = setting(
        "--grace-after-use-seconds",
        "How long the old key is kept after the first use of the new one.",
        default=3600.0,
        min=0,
    )
    grace_at_most_seconds: float = setting(
        "--grace-at-most-seconds",
        "How long the old key is kept at most, if no use of the new one is seen.",
        default=604_800.0,
        min=0,
    )

    @property
    def grace(self) -> Grace:
        """How long the old key lives beside the new one."""
        after_first_use_us = round(self.grace_after_use_seconds * SECOND_US)
        return Grace(after_first_use_us, round(self.grace_at_most_seconds * SECOND_US))


@dataclass(frozen=True, slots=True)
class NewKeySpec:
    """The fields of a new key; an empty one is copied from the old key."""

    workspace: str = ""
    user: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Where the cluster's API is, and how to authenticate there."""

    PANEL: ClassVar = PANEL
    url: str = setting(
        "--kubernetes-url",
        "The URL of the cluster's API.",
        "URL",
        default="https://kubernetes.default.svc",
    )
    token_file: Path = setting(
        "--kubernetes-token-file", "The service account's token.", "FILE", default=ACCOUNT / "token"
    )
    ca_file: Path = setting(
        "--kubernetes-ca-file", "The cluster's CA, in PEM.", "FILE", default=ACCOUNT / "ca.crt"
    )


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """The settings of scheduled rotation."""

    PANEL: ClassVar = PANEL
    every_days: int = setting(
        "--rotate-keys-days",
        "Rotate the active keys of the data files at this age; 0 is never.",
        default=0,
        min=0,
        max=3650,
    )
    admin_key_file: Path | None = flagged(ADMIN_KEY_FILE, None)
    sink: str = flagged(SINK, "")
    pepper_file: Path | None = flagged(PEPPER_FILE, None)
    mistral: MistralSettings = field(default_factory=MistralSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    timings: Timings = field(default_factory=Timings)

    def files(self) -> tuple[Path, Path]:
        """Return the files of the admin key and the pepper. Raises ValueError if one is missing."""
        if self.admin_key_file is None or self.pepper_file is None or not self.sink:
            needed = "--mistral-admin-key-file, --key-sink and --key-pepper-file"
            raise ValueError(f"--rotate-keys-days needs {needed}")
        return self.admin_key_file, self.pepper_file


class Watcher(Protocol):
    """Callbacks for the progress of a rotation. They get no secret."""

    def reached(self, rotation: KeyRotation, note: str) -> None:
        """A stage is on disk."""

    def waits(self, rotation: KeyRotation, why: str, until_us: int | None) -> None:
        """The rotation waits, until a time if that is known. Called repeatedly."""


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread, off the event loop."""
    return await asyncio.to_thread(work, *args, **kwargs)
