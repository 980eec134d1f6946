"""Fingerprints of a policy directory, by which a change is noticed.

Kubernetes writes each version of a ConfigMap to a folder of its own, and then replaces the
link `..data` to it; each file is a link through `..data`. Reading through these links could
mix files of two versions, so `..data` is resolved once, and all files are read from there.
"""

from pathlib import Path

from sidecar.policy.files.problems import PolicyError, Problem

CURRENT = "..data"

DirectoryStat = tuple[object, ...]
"""Metadata of a directory's files; two different ones mean a change."""


def folder(directory: Path) -> Path:
    """Return the folder that has the files now. Raises PolicyError if it cannot be found."""
    try:
        found = directory.resolve(strict=True)
        current = found / CURRENT
        if not current.is_symlink():
            return found
        pinned = current.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise unreadable(directory, error) from None
    if not pinned.is_relative_to(found):
        wrong = f"has a {CURRENT} that links to a folder outside the directory"
        raise PolicyError([Problem(str(directory), 0, 0, wrong)])
    return pinned


def stat_directory(directory: Path) -> DirectoryStat:
    """Return the folder, and each file's name, inode, size and times.

    A file's ctime cannot be set, so it differs after every change, if two calls are more
    than a tick of the kernel's clock apart.
    """
    try:
        pinned = folder(directory)
        names = sorted(entry.name for entry in pinned.iterdir())
    except PolicyError as error:
        return (str(error),)
    except OSError as error:
        return (error.errno,)
    return (pinned, *(_file_stat(pinned / name) for name in names if not name.startswith(".")))


def _file_stat(file: Path) -> tuple[object, ...]:
    try:
        stat = file.stat()
    except OSError as error:
        return file.name, error.errno
    return file.name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def unreadable(directory: Path, error: Exception) -> PolicyError:
    """Return the error for a directory that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else "a link to itself"
    wrong = "is a file: give its directory"
    if not isinstance(error, NotADirectoryError):
        wrong = f"cannot be read: {why}"
    return PolicyError([Problem(str(directory), 0, 0, wrong)])
