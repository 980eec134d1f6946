"""Writing a file whole: its name appears when its content is on disk, and never before.

A file is written under a name of its own beside its place, flushed, and then put in its place.
What a crash leaves is such a file; readers do not see it.
"""

import os
import re
import secrets
from pathlib import Path


def replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file, in place of the one that may be there. Raises OSError."""
    new = _written_beside(path, content, mode)
    try:
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads. Raises FileExistsError if one is there; OSError.

    Of several processes that create it at once, one succeeds.
    """
    new = _written_beside(path, content, 0o600)
    try:
        path.hardlink_to(new)
    finally:
        new.unlink(missing_ok=True)
    _flush(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove what writes of this file have left that a crash interrupted. Raises OSError."""
    unfinished = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new")
    for left in path.parent.iterdir():
        if unfinished.fullmatch(left.name):
            left.unlink(missing_ok=True)


def _written_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write a file beside the place of another; return its path."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(handle)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new


def _flush(folder: Path) -> None:
    """Flush a folder, so that its names are on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
