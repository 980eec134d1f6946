"""Opening and locking of a ledger file, with the checks for damage and foreign files."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlite_utils import Database

from sidecar.ledger import schema
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.reserve import Reserve

# SQLite's WAL index is in shared memory, which these do not share between hosts.
_NETWORK_FILE_SYSTEMS = (
    "nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "afs", "lustre", "gpfs", "beegfs", "ocfs2",
    "gfs2", "fuse.",
)  # fmt: skip
_LOCAL_FUSE = "fuse.fuse-overlayfs"  # the disk of rootless containers

_ESCAPED = re.compile(r"\\([0-7]{3})")

QUICK_CHECK_BYTES = 32 * 2**20
"""Up to this size a file is checked at each start. SQLite reads about 150 MB a second, and
before 3.42 a check cannot be stopped in the middle of a table."""

_PROCESS_BYTES = 20
"""The length of a lock file: the number of a process, and spaces."""

WAL_INDEX_BYTES = 32_768
"""The room for the index of a WAL. Without it, SQLite reports an error of the disk."""

_PRIMARY_CODE = 0xFF
"""The bits of an error's code that say its kind."""

BUSY_SECONDS = 5
"""How long a second writer waits for the sidecar's transaction."""


def canonical_path(path: Path) -> Path:
    """Return the path to lock a file by, with all symbolic links resolved.

    Raises LedgerRefusedError for a file with several hard links.
    """
    real = path.resolve()
    if real.is_file() and real.stat().st_nlink > 1:
        raise LedgerRefusedError(
            f"{path}: has several hard links, and so cannot be locked; use a copy"
        )
    return real


def is_new(path: Path) -> bool:
    """Whether a ledger would be created there."""
    return not path.exists() or (path.is_file() and not path.stat().st_size)


def lock(path: Path) -> IO[bytes]:
    """Lock the file for its one writer, until the returned file is closed.

    The lock is a file beside it, with the writer's process. Raises LedgerRefusedError when
    another process has the lock, or the file is of another kind.
    """
    handle = _open_lock(path, path.with_name(path.name + ".lock"))
    owner = os.pread(handle.fileno(), _PROCESS_BYTES + 1, 0)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        process = owner.decode("ascii", "replace").strip() or "unknown"
        raise LedgerRefusedError(
            f"{path}: another sidecar (process {process}) uses this ledger; "
            "stop it, or give --ledger another file"
        ) from None
    # It is written over, never cut off: what is longer was not written by a sidecar.
    with contextlib.suppress(OSError):  # on a full disk: the number is for messages alone
        os.pwrite(handle.fileno(), str(os.getpid()).encode().ljust(_PROCESS_BYTES), 0)
    return handle


def _open_lock(path: Path, holder: Path) -> IO[bytes]:
    """Open a lock file, or create it; a user who may write to the folder may have put another."""
    try:
        descriptor = os.open(holder, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LedgerRefusedError(f"{path}: its lock file, {holder}, is a link") from None
        raise LedgerRefusedError(
            f"{path}: cannot be written: {error.strerror}; "
            "give --ledger a file in a folder that this user may write to"
        ) from None
    found = os.fstat(descriptor)
    content = os.pread(descriptor, _PROCESS_BYTES + 1, 0) if stat.S_ISREG(found.st_mode) else b"?"
    if found.st_nlink != 1 or not re.fullmatch(rb"\d* *", content):
        os.close(descriptor)
        raise LedgerRefusedError(f"{path}: {holder} is not the lock file of a sidecar; remove it")
    return os.fdopen(descriptor, "r+b", buffering=0)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for its one writer, creating or upgrading it as needed.

    Raises LedgerRefusedError for a file that is damaged or not a ledger.
    """
    _check_file_system(path)
    with contextlib.suppress(OSError):  # SQLite says what is wrong; its files have the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with _opening(path, path, check_same_thread=False, timeout=0) as connection:
        _check_is_ledger(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        _set_durability(connection)
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        _quick_check(path, connection)
        if not _tables(connection):  # first, so that a half-created file is known as a ledger
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        schema.migrations.apply(Database(connection))
    return connection


@contextmanager
def sole_writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for its one writer, with the room of its reserve, for the block.

    Raises LedgerRefusedError, also if a sidecar uses it.
    """
    with lock(path):
        Reserve(path).free()
        with contextlib.closing(open_writer(path)) as connection:
            yield connection


def open_second_writer(path: Path) -> sqlite3.Connection:
    """Open a ledger as a second writer, for tables that the first does not cache.

    It leaves checkpoints to the first, as docs/design.md explains. The file is created or
    upgraded, unless a sidecar uses it. Raises LedgerRefusedError.
    """
    path = canonical_path(path)
    if not _is_current(path):
        with sole_writer(path):
            pass
    with _opening(path, path, check_same_thread=False, timeout=BUSY_SECONDS) as connection:
        _set_durability(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _set_durability(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _is_current(path: Path) -> bool:
    """Whether the file is a ledger of this version; `open_writer` reports what is wrong."""
    try:
        open_reader(path).close()
    except LedgerRefusedError:
        return False
    return True


def open_reader(path: Path, *, older: bool = False) -> sqlite3.Connection:
    """Open an existing ledger read-only; with `older`, also one of an older version.

    Raises LedgerRefusedError for a file that is not a ledger.
    """
    place = f"{path.absolute().as_uri()}?mode=ro"
    with _opening(path, place, uri=True, timeout=1) as connection:
        _check_is_ledger(path, connection)
        if not _tables(connection):
            raise LedgerRefusedError(f"{path}: is empty, not a ledger")
        if not older and schema.migrations.pending(Database(connection)):
            raise LedgerRefusedError(
                f"{path}: was written by an older version, and reading does not upgrade it; "
                "start a sidecar on it once, or restore it to another file"
            )
    return connection


@contextmanager
def _opening(path: Path, place: Path | str, **options: Any) -> Iterator[sqlite3.Connection]:
    """Open a connection, and close it if the block raises."""
    connection = None
    try:
        connection = sqlite3.connect(place, isolation_level=None, **options)
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise _refusal(path, error) from None
        raise


def _refusal(path: Path, error: sqlite3.Error) -> LedgerRefusedError:
    """Return why a ledger cannot be opened, once its connection is closed and its WAL gone."""
    if not path.exists():
        return LedgerRefusedError(f"{path}: there is no such ledger")
    if not _is_disk_full(path, error):
        return LedgerRefusedError(
            f"{path}: cannot be opened as a ledger: {error}; "
            "restore a backup, or give --ledger another file"
        )
    size, free = 2 * path.stat().st_size, shutil.disk_usage(path.absolute().parent).free
    return LedgerRefusedError(
        f"{path}: its disk is full: {free:,} bytes are free, and opening it takes"
        f" {WAL_INDEX_BYTES:,}, the upgrade of an older ledger up to twice its size, {size:,};"
        " nothing is lost: make room, and start again"
    )


def _is_disk_full(path: Path, error: sqlite3.Error) -> bool:
    """Whether a ledger cannot be opened because its disk is full; SQLite may name another error."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & _PRIMARY_CODE == sqlite3.SQLITE_IOERR:
        return shutil.disk_usage(path.absolute().parent).free < WAL_INDEX_BYTES
    return bool(code == sqlite3.SQLITE_FULL)


def _tables(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return int(number)


def _check_is_ledger(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database that is not a ledger, or one of a newer version."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != schema.APPLICATION_ID and _tables(connection):
        raise LedgerRefusedError(
            f"{path}: is a database, but not a ledger of this program; give --ledger another file"
        )
    newer = schema.unknown_migrations(Database(connection))
    if newer:
        raise LedgerRefusedError(
            f"{path}: was written by a newer version ({newer[-1]}); upgrade this program"
        )


def _quick_check(path: Path, connection: sqlite3.Connection) -> None:
    """Check a small file for damage; `ledger verify` checks files of any size."""
    if path.stat().st_size > QUICK_CHECK_BYTES:
        return
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise LedgerRefusedError(f"{path}: is damaged: {finding}; restore a backup")


def _check_file_system(path: Path) -> None:
    kind = _file_system(path.absolute().parent)
    if kind.startswith(_NETWORK_FILE_SYSTEMS) and kind != _LOCAL_FUSE:
        raise LedgerRefusedError(
            f"{path}: is on a network file system ({kind}), where SQLite's WAL loses writes; "
            "give --ledger a file on a local disk"
        )


def _file_system(folder: Path) -> str:
    """Return the type of a folder's file system; "" where the kernel does not report it."""
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
