"""The memory of a sidecar: what its manifest gives it, and a kernel that gives no more."""

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.sidecar_process import RunningSidecar

MANIFEST = Path(__file__).parents[2] / "deploy" / "base" / "statefulset.yaml"
CGROUPS = Path("/sys/fs/cgroup")
STACKS_BYTES = 128 * 2**20
"""Of 16 threads: RLIMIT_DATA counts 8 MiB for each, of which a stack takes a few KiB."""

_numbers = itertools.count(1)


def limit_bytes() -> int:
    """Return the memory that the manifest gives the sidecar."""
    pod = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    limit = pod["initContainers"][0]["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Mi")) * 2**20


def peak_bytes(sidecar: RunningSidecar) -> int:
    """Return the most memory that a process has had; 0 where the system does not say."""
    assert sidecar.process is not None
    status = Path(f"/proc/{sidecar.process.pid}/status")
    if not status.exists():
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else 0


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A limit of the kernel, for one process from its first moment, as a container has it."""

    size_bytes: int
    name: str
    """What enforces it, for people."""
    prefix: tuple[str, ...]
    """Goes in front of the process's command line."""
    kills: Callable[[], int]
    """How many processes the kernel has killed because they took more."""


@contextmanager
def limited(size_bytes: int) -> Iterator[MemoryLimit]:
    """Limit the memory of a process that is to be started.

    By a memory cgroup if this process may make one: a process that needs more is killed. Else by
    RLIMIT_DATA: it gets no more, so it ends too. RLIMIT_AS would not do, as a sidecar without
    callers has 750 MiB of addresses, most of them reserved and never used.
    """
    found = next(_cgroups(size_bytes), None)
    if found is None:
        size_kib = (size_bytes + STACKS_BYTES) // 1024
        prefix = _shell(f"ulimit -d {size_kib}")
        yield MemoryLimit(size_bytes, "RLIMIT_DATA", prefix, lambda: 0)
        return
    version, folder = found

    def kills() -> int:
        events = (folder / version.events_file).read_text()
        return int(re.findall(r"oom_kill (\d+)", events)[0])

    try:
        name = f"memory cgroup v{version.number}"
        yield MemoryLimit(size_bytes, name, _enter(folder), kills)
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():  # after a failure
            os.kill(int(pid), signal.SIGKILL)
        while (folder / "cgroup.procs").read_text():
            time.sleep(0.01)
        folder.rmdir()


@dataclass(frozen=True, slots=True)
class _Version:
    """One of the two interfaces that Linux has for cgroups."""

    number: int
    root: Path
    limit_file: str
    swap_file: str
    """The limit of swap; not there where swap is not counted."""
    counts_both: bool
    """Whether that limit is of memory and swap together."""
    events_file: str


_VERSIONS = {
    "memory": _Version(
        1, CGROUPS / "memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
        counts_both=True, events_file="memory.oom_control",
    ),
    "": _Version(
        2, CGROUPS, "memory.max", "memory.swap.max", counts_both=False, events_file="memory.events"
    ),
}  # fmt: skip
"""By the controllers that a line of /proc/self/cgroup names."""


def _cgroups(size_bytes: int) -> Iterator[tuple[_Version, Path]]:
    """Make a cgroup with this limit, as near to our own as we may."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if version := _VERSIONS.get(controllers):
            ours = version.root / own.strip("/")
            for parent in (ours, *ours.parents):
                if not parent.is_relative_to(version.root):
                    break
                if folder := _made(version, parent, size_bytes):
                    yield version, folder


def _made(version: _Version, parent: Path, size_bytes: int) -> Path | None:
    """Make a cgroup that a process can enter; return None if that is not allowed there."""
    folder = parent / f"sidecar-test-{os.getpid()}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        (folder / version.limit_file).write_text(str(size_bytes))
        if (swap := folder / version.swap_file).exists():
            swap.write_text(str(size_bytes if version.counts_both else 0))
        subprocess.run([*_enter(folder), "true"], check=True, capture_output=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        with suppress(OSError):
            folder.rmdir()
        return None
    return folder


def _enter(folder: Path) -> tuple[str, ...]:
    return _shell(f"echo $$ > {folder / 'cgroup.procs'}")


def _shell(command: str) -> tuple[str, ...]:
    """Return what runs a command of the shell, and then becomes the program that follows."""
    return "/bin/sh", "-c", f'{command} && exec "$@"', "sh"
