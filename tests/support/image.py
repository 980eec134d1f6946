"""Runs the steps of a Dockerfile unchanged, without a container engine.

A root folder takes the place of each stage's base image: the programs and libraries of this
system, read-only, and a copy of the Python that runs the tests in /usr/local, without
bytecode, as the official image has it. Needs Linux and root, for `unshare` and `chroot`.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support import tools

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM = Path("/")
"""Where the programs and libraries of the roots come from."""
FOLDERS = (
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "usr/share",
    "bin",
    "sbin",
    "lib",
    "lib64",
)
EMPTY = ("proc", "dev", "etc", "root", "tmp", "var", "var/lib", "run", "usr/local")
DEVICES = ("null", "urandom")
NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "pip.conf", "ssl", "passwd", "group")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
OUTSIDE = {"PATH": PATH}
"""`chroot` looks inside for the program by the PATH from outside, whatever that is here."""


def need_roots() -> None:
    """Skip the test where no root folder can be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        tools.cannot("only root on Linux may make a root folder")
    if sys.base_prefix == "/usr":
        tools.cannot("this Python is the system's, so it cannot be copied by itself")
    for name in ("unshare", "setpriv", "mount", "ip"):
        tools.program(name)
    trial = _run(["unshare", "--mount", "--pid", "--net", "--fork", "true"])
    if trial.returncode:
        tools.cannot(f"no namespaces here: {trial.stderr.strip()}")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return each instruction with the rest of its line, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word
    ]


@dataclass
class Image:
    """A built image: a root folder, and the command that starts it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    folder: str = "/"

    def run(self, command: str) -> None:
        """Run one RUN step, as root, with the network of this machine."""
        pip = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
        pip.pop("PIP_FIND_LINKS", None)  # a folder that the root does not have
        command_line = self._inside([*self._env(pip | self.args), "/bin/sh", "-c", command])
        done = _run(command_line)
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}{done.stderr}"

    def start(
        self,
        volumes: dict[str, Path],
        *words: str,
        user: str = "",
        groups: str = "",
        mode: str = "rw",
    ) -> subprocess.Popen[str]:
        """Start the image's command, or another one, with a network of its own.

        All is read-only but /tmp and the volumes, which are folders outside by their place
        inside; they are so, too, by mode `ro`.
        """
        root, (uid, _, gid) = shlex.quote(str(self.root)), (user or self.user).partition(":")
        unprivileged = ["setpriv", "--reuid", uid, "--regid", gid, "--no-new-privs", "--bounding-set=-all",
                  "--inh-caps=-all", f"--groups={groups}" if groups else "--clear-groups"]  # fmt: skip
        prepare = (
            "ip link set lo up",
            f"mount -o remount,ro,bind {root}",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",  # noqa: S108 - that of the root
            *(
                f"mount --bind {outside} {root}{place} && mount -o remount,bind,{mode} {root}{place}"
                for place, outside in volumes.items()
            ),
        )
        program = words or (*self.entrypoint, *self.command)
        command_line = self._inside(
            [*unprivileged, *self._env({}), *program], "--net", prepare=prepare
        )
        return subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True, env=OUTSIDE)  # noqa: S603

    def _env(self, more: dict[str, str]) -> list[str]:
        pairs = [f"{name}={value}" for name, value in {**self.env, **more}.items()]
        return ["env", "-C", self.folder, "-i", *pairs]

    def _inside(self, words: list[str], *spaces: str, prepare: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs another in the root, as process 1 of its own."""
        root = shlex.quote(str(self.root))
        steps = [
            f"mount --bind {root} {root}",
            *(
                f"mount --rbind {SYSTEM / name} {root}/{name}"
                f" && mount -o remount,ro,bind {root}/{name}"
                for name in FOLDERS
                if (SYSTEM / name).is_dir() and not (SYSTEM / name).is_symlink()
            ),
            f"mount -t proc proc {root}/proc",
            *(f"mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES),
            *prepare,
            f"exec chroot {root} {shlex.join(words)}",
        ]
        return ["unshare", "--mount", "--pid", *spaces, "--fork", "--kill-child",
                "/bin/sh", "-ec", "\n".join(steps)]  # fmt: skip


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, env=OUTSIDE)  # noqa: S603


def build(dockerfile: Path, folder: Path, **args: str) -> Image:
    """Run every step of a Dockerfile, with build arguments; return the image of its last stage."""
    context, stages = dockerfile.parent, dict[str, Image]()
    image = Image(folder)
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            image = stages[name] = Image(
                _base(folder / name), {"PATH": PATH, "LD_LIBRARY_PATH": "/usr/local/lib"}
            )
        elif word == "RUN":
            image.run(rest)
        elif word == "ARG":
            image.args |= {rest: args[rest]} if rest in args else {}
        elif word == "WORKDIR":
            image.folder = rest
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            _copy(rest.split(), context, stages, image)
        elif word == "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "USER":
            image.user = rest
        elif word in {"ENTRYPOINT", "CMD"}:
            setattr(image, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[word], json.loads(rest))
        else:
            assert word in {"LABEL", "VOLUME", "HEALTHCHECK"}, word
    return image


def _copy(words: list[str], context: Path, stages: dict[str, Image], image: Image) -> None:
    source = context
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, target = words
    place = image.root / os.path.normpath(Path(image.folder) / target).lstrip("/")
    for name in names:
        found = source / name.lstrip("/")
        if found.is_dir():
            ignore = _ignored(context, name) if source == context else None
            shutil.copytree(found, place, dirs_exist_ok=True, ignore=ignore)
        else:
            shutil.copy(found, place)


def _ignored(context: Path, name: str) -> Callable[[str, list[str]], set[str]]:
    """Return the filter of .dockerignore for a folder of the build context."""
    lines = (context / ".dockerignore").read_text().splitlines()
    patterns = [(folder, pattern) for folder, _, pattern in (it.rpartition("/") for it in lines)]
    return shutil.ignore_patterns(*(it for folder, it in patterns if folder in {name, "**"}))


def _base(root: Path) -> Path:
    """Make a root like that of the official image of Python."""
    for name in (*FOLDERS, *EMPTY):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (SYSTEM / name).is_symlink():
            (root / name).symlink_to((SYSTEM / name).readlink())
        else:
            (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in DEVICES:
        (root / "dev" / name).touch()
    for name in NETWORK:
        if (found := Path("/etc") / name).is_dir():
            shutil.copytree(found, root / "etc" / name, symlinks=True)
        elif found.exists():
            shutil.copy(found, root / "etc" / name)
    _copy_python(Path(sys.base_prefix), root / "usr/local")
    return root


def _copy_python(prefix: Path, local: Path) -> None:
    """Copy this Python with pip, and without what the official image leaves out."""
    packages = Path("lib") / PYTHON / "site-packages"
    left_out = ("__pycache__", "test", "tests", "config-*", "idlelib", "site-packages")
    shutil.copytree(
        prefix / "lib" / PYTHON, local / "lib" / PYTHON, ignore=shutil.ignore_patterns(*left_out)
    )
    for pip in (prefix / packages).glob("pip*"):
        shutil.copytree(pip, local / packages / pip.name)
    for library in prefix.glob("lib/libpython*"):
        shutil.copy(library, local / "lib", follow_symlinks=False)
    (local / "bin").mkdir()
    shutil.copy(prefix / "bin" / PYTHON, local / "bin")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(PYTHON)
