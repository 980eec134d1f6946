"""Where the files of a policy directory are at this moment, and whether they have changed.

Kubernetes writes a ConfigMap as a folder of its own, and then turns the link `..data` to
that, at once; each file is a link through `..data`. Whoever reads through these links may
read one file of the old set and the next of the new one. So the links are followed once,
and everything is read from where they led.
"""

from pathlib import Path

from sidecar.policy.files.problems import PolicyError, Problem

CURRENT = "..data"

DirectoryStat = tuple[object, ...]
"""What can be seen of a directory without reading its files. Two that differ are a change."""


def folder(directory: Path) -> Path:
    """Return the folder that has the files now. Raises PolicyError when there is none."""
    try:
        found = directory.resolve(strict=True)
        current = found / CURRENT
        if not current.is_symlink():
            return found
        pinned = current.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise unreadable(directory, error) from None
    if not pinned.is_relative_to(found):
        wrong = f"has a {CURRENT} that is a link to outside of the directory"
        raise PolicyError([Problem(str(directory), 0, 0, wrong)])
    return pinned


def stat_directory(directory: Path) -> DirectoryStat:
    """See where the files are, their names, and when each was last written or replaced.

    The kernel's time of change (ctime) cannot be set, and so is not the same twice, as long
    as a look and the next are more than a tick of its clock apart.
    """
    try:
        pinned = folder(directory)
        names = sorted(entry.name for entry in pinned.iterdir())
    except PolicyError as error:
        return (str(error),)
    except OSError as error:
        return (error.errno,)
    return (pinned, *(_seen(pinned / name) for name in names if not name.startswith(".")))


def _seen(file: Path) -> tuple[object, ...]:
    try:
        seen = file.stat()
    except OSError as error:
        return file.name, error.errno
    return file.name, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def unreadable(directory: Path, error: Exception) -> PolicyError:
    """Say why a directory cannot be read."""
    why = error.strerror if isinstance(error, OSError) else "a link to itself"
    wrong = "is a file: give its directory"
    if not isinstance(error, NotADirectoryError):
        wrong = f"cannot be read: {why}"
    return PolicyError([Problem(str(directory), 0, 0, wrong)])
