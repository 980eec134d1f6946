"""A machine whose disk hangs and whose clock jumps, for one process: by LD_PRELOAD."""

import subprocess
import sys
from pathlib import Path

from support import tools

SOURCE = Path(__file__).with_suffix(".cpp")


class FaultyMachine:
    """The faults of a process that is started with `env`, which a test sets and takes back."""

    def __init__(self, folder: Path) -> None:
        """Build the library in a folder; without faults. Skips the test where that is impossible."""
        if sys.platform != "linux":
            tools.cannot("LD_PRELOAD is of Linux")
        library = folder / "faulty_machine.so"
        command = [tools.program("g++"), "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True)  # noqa: S603
        self._disk, self._clock = folder / "disk-hangs", folder / "clock-seconds"
        self._waits = folder / "disk-is-awaited"
        self.env = {
            "LD_PRELOAD": str(library),
            "FAULTY_DISK": str(self._disk),
            "FAULTY_DISK_AWAITED": str(self._waits),
            "FAULTY_CLOCK": str(self._clock),
        }

    def hang_disk(self) -> None:
        """Let no flush of a file end, from now on."""
        self._disk.touch()

    def disk_is_awaited(self) -> bool:
        """Whether a flush waits, or has waited, for the disk."""
        return self._waits.exists()

    def free_disk(self) -> None:
        """Let every flush end."""
        self._disk.unlink(missing_ok=True)

    def jump(self, seconds: int) -> None:
        """Set the system's clock so many seconds ahead of the real time."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._clock)
