"""Opening a ledger file: ours, whole, current, on a local disk, and nobody else's."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlite_utils import Database

from sidecar.ledger import schema
from sidecar.ledger.protocol import LedgerRefusedError

# WAL keeps its index in shared memory, which these do not share between hosts.
_NETWORK_FILE_SYSTEMS = (
    "nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "afs", "lustre", "gpfs", "beegfs", "ocfs2",
    "gfs2", "fuse.",
)  # fmt: skip
_LOCAL_FUSE = "fuse.fuse-overlayfs"  # what containers without root run on

_ESCAPED = re.compile(r"\\([0-7]{3})")

QUICK_CHECK_BYTES = 32 * 2**20
"""What is checked whole at each start. SQLite reads some 150 MB a second, and before 3.42
cannot be stopped in the middle of a table."""

BUSY_SECONDS = 5
"""How long what writes beside a sidecar waits for its turn."""


def one_name(path: Path) -> Path:
    """Return the name under which a file is locked, whichever link led to it.

    Raises LedgerRefusedError for a file that has several names of its own.
    """
    real = path.resolve()
    if real.is_file() and real.stat().st_nlink > 1:
        raise LedgerRefusedError(
            f"{path}: has several names (hard links), and so cannot be locked; copy it"
        )
    return real


def lock(path: Path) -> IO[str]:
    """Take the one writer's place for this file until the answer is closed.

    Raises LedgerRefusedError when another process has it.
    """
    holder = path.with_name(path.name + ".lock")
    try:
        handle = holder.open("a+", encoding="ascii")
    except OSError as error:
        raise LedgerRefusedError(
            f"{path}: cannot be written: {error.strerror}; "
            "give --ledger a file in a folder that this user may write to"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read(20).strip() or "unknown"
        handle.close()
        raise LedgerRefusedError(
            f"{path}: another sidecar (process {owner}) writes this ledger; "
            "stop it, or give --ledger another file"
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for its one writer, creating or upgrading it as needed.

    Raises LedgerRefusedError for what is not a healthy ledger of ours.
    """
    _refuse_network_file_system(path)
    with _opening(path, path, check_same_thread=False, timeout=0) as connection:
        _refuse_foreign(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        _keep_promises(connection)
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        _quick_check(path, connection)
        if not _tables(connection):  # first of all, so that a file cut short is still ours
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        schema.migrations.apply(Database(connection))
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """Open a ledger to write tables of which its one writer remembers nothing.

    It is created or upgraded, unless a sidecar uses it. Raises LedgerRefusedError.
    """
    path = one_name(path)
    if not _is_current(path):
        with lock(path):
            open_writer(path).close()
    with _opening(path, path, check_same_thread=False, timeout=BUSY_SECONDS) as connection:
        _keep_promises(connection)
    return connection


def _keep_promises(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _is_current(path: Path) -> bool:
    """Whether nothing is to be done to it; what is wrong with it, a writer says."""
    try:
        open_reader(path).close()
    except LedgerRefusedError:
        return False
    return True


def open_reader(path: Path, *, older: bool = False) -> sqlite3.Connection:
    """Open an existing ledger for reading only; one of an older program where asked to.

    Raises LedgerRefusedError for what is not a ledger of ours.
    """
    place = f"{path.absolute().as_uri()}?mode=ro"
    with _opening(path, place, uri=True, timeout=1) as connection:
        _refuse_foreign(path, connection)
        if not _tables(connection):
            raise LedgerRefusedError(f"{path}: is empty, not a ledger")
        if not older and schema.migrations.pending(Database(connection)):
            raise LedgerRefusedError(
                f"{path}: was written by an older program, and reading does not change it; "
                "start a sidecar on it once, or restore it to another file"
            )
    return connection


@contextmanager
def _opening(path: Path, place: Path | str, **options: Any) -> Iterator[sqlite3.Connection]:
    """Open a connection, and close it again if it is refused."""
    connection = None
    try:
        connection = sqlite3.connect(place, isolation_level=None, **options)
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise LedgerRefusedError(
                f"{path}: cannot be opened as a ledger: {error}; "
                "restore a backup, or give --ledger another file"
            ) from None
        raise


def _tables(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return int(number)


def _refuse_foreign(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database that is not a ledger, or one from a newer program."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != schema.APPLICATION_ID and _tables(connection):
        raise LedgerRefusedError(
            f"{path}: is a database, but not a ledger of this program; give --ledger another file"
        )
    newer = schema.migrations_from_the_future(Database(connection))
    if newer:
        raise LedgerRefusedError(
            f"{path}: was written by a newer program ({newer[-1]}); upgrade this one"
        )


def _quick_check(path: Path, connection: sqlite3.Connection) -> None:
    """Look for damage where that takes a moment; `ledger verify` looks everywhere."""
    if path.stat().st_size > QUICK_CHECK_BYTES:
        return
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise LedgerRefusedError(f"{path}: is damaged: {finding}; restore a backup")


def _refuse_network_file_system(path: Path) -> None:
    kind = _file_system(path.absolute().parent)
    if kind.startswith(_NETWORK_FILE_SYSTEMS) and kind != _LOCAL_FUSE:
        raise LedgerRefusedError(
            f"{path}: is on a network file system ({kind}), where SQLite's WAL loses writes; "
            "give --ledger a file on a local disk"
        )


def _file_system(folder: Path) -> str:
    """Name the file system that holds a folder, "" where the kernel does not say."""
    try:
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).split("\n")
    except OSError:
        return ""
    resolved, best, kind = folder.resolve(), Path("/"), ""
    for mount in filter(None, mounts):
        before, _, after = mount.partition(" - ")
        place = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4]))
        if resolved.is_relative_to(place) and place.is_relative_to(best):
            best, kind = place, after.split()[0]
    return kind
