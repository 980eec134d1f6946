"""The interpreters of this machine, one for each version of Python."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from support import tools

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
"""From `requires-python` to the newest that each package of the lock files has a wheel for."""

_ASK = (
    "import ensurepip, platform, sqlite3, ssl, sys, venv;"
    "print(platform.python_implementation(), '.'.join(map(str, sys.version_info[:3])),"
    " sys.executable)"
)


class Interpreter(NamedTuple):
    """A Python interpreter that can make an environment for the tests."""

    version: str
    """Such as 3.12."""
    patch: tuple[int, ...]
    path: Path


def find(candidates: Iterable[Path]) -> dict[str, Interpreter]:
    """Return the latest patch of each version, the oldest version first."""
    found: dict[str, Interpreter] = {}
    for path in dict.fromkeys(candidates):
        one = _look_at(path)
        if one and (one.version not in found or found[one.version].patch < one.patch):
            found[one.version] = one
    return {version: found[version] for version in VERSIONS if version in found}


def candidates() -> Iterator[Path]:
    """Yield candidates: on PATH, and those of Debian, pyenv and uv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [
        *map(Path, filter(None, os.environ.get("PATH", "").split(os.pathsep))),
        *(Path("/usr/bin"), Path("/usr/local/bin")),
        *sorted(pyenv.glob("versions/*/bin")),
        *sorted(_uvs_folder().glob("*/bin")),
    ]
    for folder in folders:
        for version in VERSIONS:
            if (path := folder / f"python{version}").is_file():
                yield path


def _uvs_folder() -> Path:
    uv = tools.find("uv")
    found = _output([uv, "python", "dir"]) if uv else ""
    return Path(found or Path.home() / ".local/share/uv/python")


def _look_at(path: Path) -> Interpreter | None:
    """Run the interpreter; one that does not start (a pyenv shim) or has no venv is ignored."""
    implementation, _, rest = _output([str(path), "-c", _ASK]).partition(" ")
    version, _, executable = rest.partition(" ")
    if implementation != "CPython":
        return None
    patch = tuple(map(int, version.split(".")))
    # Its own path: what a shim starts is another thing in another folder.
    return Interpreter(f"{patch[0]}.{patch[1]}", patch, Path(executable))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
