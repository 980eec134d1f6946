"""The memory of a sidecar, and what its manifest gives it."""

import re
from pathlib import Path

import yaml

from support.sidecar_process import RunningSidecar

MANIFEST = Path(__file__).parents[2] / "deploy" / "base" / "statefulset.yaml"


def limit_bytes() -> int:
    """Return the memory that the manifest gives the sidecar."""
    pod = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    limit = pod["initContainers"][0]["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 2**20


def peak_bytes(sidecar: RunningSidecar) -> int:
    """Return the most memory that a process has had; 0 where the system does not say."""
    assert sidecar.process is not None
    status = Path(f"/proc/{sidecar.process.pid}/status")
    if not status.exists():
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else 0
