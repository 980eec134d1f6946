"""The processes that read a ledger now, by the locks that SQLite keeps on its WAL index."""

import os
from pathlib import Path

LOCKS = Path("/proc/locks")

_READ_LOCKS = range(123, 128)
"""The bytes of the file LEDGER-shm, one of which each reader of a WAL locks."""


def foreign_readers(ledger: Path) -> list[str]:
    """Name the processes other than this one that are in a transaction, such as `less (7)`.

    Empty where the kernel does not say. It never opens the index: to close it again would end
    the locks of this process.
    """
    try:
        inode = os.stat(f"{ledger}-shm").st_ino  # noqa: PTH116 - a text, as SQLite names it
        locks = LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    processes = {
        int(process)
        for _, kind, _, _, process, place, first, *_ in map(str.split, locks.splitlines())
        if (kind, place.rpartition(":")[2]) == ("POSIX", str(inode)) and int(first) in _READ_LOCKS
    }
    return [_name(process) for process in sorted(processes - {os.getpid()})]


def _name(process: int) -> str:
    try:
        command = Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        command = "a process of another container"
    return f"{command.strip()} ({process})"
