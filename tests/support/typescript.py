"""The package of clients/typescript, built once for all tests with its npm dependencies."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from support import tools
from support.npm import RETRIES

FOLDER = Path(__file__).parents[2] / "clients" / "typescript"
_LOCK = "package-lock.json"


def built() -> Path:
    """Return the package's folder, or skip the test where it cannot be built."""
    tools.program("node")
    tools.program("npm")
    # Other workers may want the same at the same time.
    with (FOLDER / _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tools.needed():
            _install()
        _build()
    return FOLDER


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run node in the package's folder."""
    return subprocess.run(  # noqa: S603 - our own program
        ["node", *args],  # noqa: S607
        cwd=FOLDER,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _install() -> None:
    """Install the packages of the lock file, unless they are installed."""
    lock, installed = FOLDER / _LOCK, FOLDER / "node_modules" / ".locked"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        done = _npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", *RETRIES)
        if done.returncode != 0:
            raise tools.MissingError(f"npm cannot install: {done.stderr[-300:]}")
        installed.write_bytes(lock.read_bytes())


def _build() -> None:
    """Build the package, unless its sources are unchanged."""
    proto = FOLDER.parents[1] / "proto" / "sidecar" / "v1" / "authorization.proto"
    sources = [proto, *FOLDER.glob("*.json"), *FOLDER.glob("src/**/*"), *FOLDER.glob("test/**/*")]
    content = hashlib.sha256()
    for path in sorted(path for path in sources if path.is_file()):
        content.update(f"{path}:{path.stat().st_size}\n".encode() + path.read_bytes())
    dist = FOLDER / "dist"
    digest, built_last = content.hexdigest(), dist / ".built"
    if not built_last.exists() or built_last.read_text() != digest:
        shutil.rmtree(dist, ignore_errors=True)
        done = _npm("run", "build")
        assert done.returncode == 0, done.stdout + done.stderr
        built_last.write_text(digest)


def _npm(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - pinned by the lock file
        ["npm", *args],  # noqa: S607
        cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
