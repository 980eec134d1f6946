"""buf, which lints proto/ and finds breaking changes of the contract (`make baseline`)."""

import platform
import subprocess
import sys
from pathlib import Path

from support.npm import fetch
from support.tools import OtherMachineError

VERSION = "1.75.0"
SHA512 = {
    "x86_64": ("x64", "YGGJAx0lpMCE7aMWjNOJcfoEaG/e+iYHnTC4SZ0P5eS4IffMryA9Z4/bb1m1wNXAEJ8ATFMEZOAk/5x9VE47ig=="),
    "aarch64": ("aarch64", "eX+XyokzJDqsNIFo8b1O3DBvbnksOozPJX4QVsNn61JqSUtWspyTNeYqwg8lRDancML+bDqZEDFPABjAsVCQGQ=="),
}  # fmt: skip

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "proto" / "baseline.txtpb"
"""What was promised last: the descriptors of proto/, as text."""


def program() -> Path:
    """Return the program buf. Raises MissingError or OtherMachineError."""
    name, sha512 = SHA512.get(platform.machine(), ("", ""))
    if sys.platform != "linux" or not name:
        raise OtherMachineError(f"no buf is pinned for {sys.platform} {platform.machine()}")
    package = f"@bufbuild/buf-linux-{name}@{VERSION}"
    return fetch(package, sha512, "package/bin/buf", ROOT / "build" / f"buf-{VERSION}" / "buf")


def buf(*args: str, folder: Path = ROOT) -> tuple[int, str]:
    """Run buf in a folder with a buf.yaml; return its exit code and its output."""
    done = subprocess.run(  # noqa: S603 - pinned
        [str(program()), *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def take_baseline() -> None:
    """Make the current proto/ the baseline, which later versions must not break."""
    code, output = buf("build", "--exclude-source-info", "--output", str(BASELINE))
    assert code == 0, output


if __name__ == "__main__":
    take_baseline()
