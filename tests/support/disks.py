"""Small file systems of their own, in memory, for tests of full and of read-only disks."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import tools


def mount(folder: Path, options: str) -> None:
    """Mount a file system, or change the options of one; skip the test where that is not allowed."""
    done = subprocess.run(  # noqa: S603
        [tools.program("mount"), "-t", "tmpfs", "-o", options, "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        tools.cannot(done.stderr.decode().strip())


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """Make a folder with a file system of this size in it, and remove that after the block."""
    folder.mkdir()
    mount(folder, f"size={size_bytes}")
    try:
        yield
    finally:
        # A process that just ended may be in it for another moment.
        subprocess.run([tools.program("umount"), "--lazy", folder], check=True)  # noqa: S603
