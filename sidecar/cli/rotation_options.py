"""Options of every command that rotates keys."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sidecar.cli.options import option
from sidecar.domain.flags import flagged
from sidecar.keys.api_variants import MistralSettings
from sidecar.keys.settings import PEPPER_FILE, SINK, KubernetesSettings, Timings
from sidecar.runtime.shared_flags import FLEET_URL_FILE

SinkOption = Annotated[str, option(SINK, SINK.panel)]
PepperFile = Annotated[Path, option(PEPPER_FILE, PEPPER_FILE.panel)]


@dataclass(frozen=True, slots=True)
class RotationOptions:
    """How to reach Mistral and the cluster, and how long they may take."""

    mistral: MistralSettings = field(default_factory=MistralSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    timings: Timings = field(default_factory=Timings)
    fleet_url_file: Path | None = flagged(FLEET_URL_FILE, None)
