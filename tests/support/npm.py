"""A file of an npm package, downloaded once for each checkout."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from support.tools import MissingError, require

RETRIES = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
"""A registry may stumble; where there is no network, that is soon seen."""


def fetch(package: str, sha512: str, member: str, target: Path) -> Path:
    """Put a member of the package at the target, unless it is there; return the target.

    `package` is name@version, `sha512` its digest in base64, as npm's own lock files give it.
    Raises MissingError, or ValueError when it is another package than that.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        pack = ["pack", package, *RETRIES, "--pack-destination", name]
        try:
            subprocess.run([require("npm"), *pack], check=True, capture_output=True, timeout=120)  # noqa: S603
        except (MissingError, OSError, subprocess.SubprocessError) as error:
            raise MissingError(f"{package} cannot be fetched: {error}") from None
        archive = next(folder.glob("*.tgz"))
        digest = hashlib.sha512(archive.read_bytes()).digest()
        if base64.b64encode(digest).decode() != sha512:
            raise ValueError(f"{package} is not the package that was pinned")
        with tarfile.open(archive) as tar, (folder / "member").open("wb") as file:
            source = tar.extractfile(member)
            assert source is not None, f"{package} has no {member}"
            shutil.copyfileobj(source, file)
            (folder / "member").chmod(tar.getmember(member).mode)
        # Another worker may do the same at the same time: either file will do.
        (folder / "member").replace(target)
    return target
