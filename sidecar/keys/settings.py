"""What a rotation can be told, what it says while it works, and how it fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from sidecar.domain.rotation import Grace, KeyRotation
from sidecar.keys.api_variants import MistralSettings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

P = ParamSpec("P")
T = TypeVar("T")


class RotationError(Exception):
    """A rotation cannot begin or go on. The text says why, and what to do."""


class StillInUseError(RotationError):
    """The grace has passed, and somebody still uses the old key."""

    def __init__(self, old: str, new: str) -> None:
        """Name both versions."""
        super().__init__(
            f"{old} should be revoked, and is still in use: find out who does not read {new}"
            " from the sink, and run this again; --force revokes it all the same"
        )


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things may take, in seconds."""

    propagation_seconds: float = 60.0
    """Apps need so long to find another secret in the sink."""
    verify_seconds: float = 120.0
    """Mistral needs so long at most to take a new key."""
    consistency_seconds: float = 30.0
    """A key that was created is listed by Mistral after so long at most."""
    look_seconds: float = 5.0
    """Between two looks at what is waited for."""
    lease_seconds: float = 60.0
    """Whoever dies in the middle keeps others out for so long."""
    grace: Grace = Grace()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class NewKeySpec:
    """What a new key is to have, where there is no old one to be like."""

    workspace: str = ""
    user: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Where the cluster's API is, and who we are there."""

    url: str = "https://kubernetes.default.svc"
    token_file: Path = ACCOUNT / "token"
    ca_file: Path = ACCOUNT / "ca.crt"


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """What a sidecar needs to rotate keys by itself."""

    every_days: int
    admin_key_file: Path
    sink: str
    pepper_file: Path
    mistral: MistralSettings
    kubernetes: KubernetesSettings
    timings: Timings


class Watcher(Protocol):
    """Is told how a rotation goes. Nothing that it is told is a secret."""

    def reached(self, rotation: KeyRotation, note: str) -> None:
        """A stage is on disk."""

    def waits(self, rotation: KeyRotation, why: str, until_us: int | None) -> None:
        """It waits, and until when if that is known. Told again and again."""


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what waits for the disk, or for another writer, beside the event loop."""
    return await asyncio.to_thread(work, *args, **kwargs)
