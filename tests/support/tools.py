"""Programs and packages that some tests need, and that `make test` does not install.

Where one is missing, the test is skipped with its name. In CI, which installs them all
(`.ci/run`), it fails: a suite that vanishes is not green.
"""

import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
IN_CI = os.environ.get("CI") == "true"

PROGRAMS = {
    "cargo": "cargo",
    "chromium": "chromium",
    "envoy": "make deploy-tools",
    "g++": "g++",
    "git": "git",
    "go": "go",
    "grpc_cpp_plugin": "protobuf-compiler-grpc",
    "h2load": "nghttp2-client",
    "hadolint": "make deploy-tools",
    "ip": "iproute2",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "kubectl": "kubernetes-client",
    "kustomize": "make deploy-tools",
    "make": "make",
    "mount": "mount",
    "mvn": "maven",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "pgbouncer": "pgbouncer",
    "pkg-config": "pkg-config",
    "postgres": "postgresql",
    "protoc": "protobuf-compiler",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "strace": "strace",
    "unshare": "util-linux",
}
"""Each program, and what brings it: a package of Debian, the language's own, or a target."""

PACKAGES = {"kubernetes_validate": "make deploy-tools"}
"""The same for modules of Python."""


class MissingError(Exception):
    """A program or a package is missing; the text says which."""


class OtherMachineError(Exception):
    """This machine cannot run the program, even if it is installed; the text says why."""


def find(*names: str) -> str | None:
    """Return the first of these programs that is installed: in this Python, `.venv`, or on PATH."""
    folders = (str(Path(sys.executable).parent), f"{ROOT}/.venv/bin", os.environ.get("PATH", ""))
    path = os.pathsep.join(folders)
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def require(*names: str) -> str:
    """Return the first of these programs that is installed. Raises MissingError."""
    if found := find(*names):
        return found
    source = next((PROGRAMS[name] for name in names if name in PROGRAMS), "")
    raise MissingError(" or ".join(names) + (f" ({source})" if source not in {"", *names} else ""))


def program(*names: str) -> str:
    """Return the first of these programs that is installed, or skip the test."""
    with needed():
        return require(*names)


def package(name: str) -> ModuleType:
    """Return a Python module, or skip the test."""
    with needed():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            raise MissingError(f"{name} ({PACKAGES[name]})") from None


@contextmanager
def needed() -> Iterator[None]:
    """Skip the test if what the block downloads or builds is not available."""
    try:
        yield
    except MissingError as error:
        _missing(str(error))
    except OtherMachineError as error:
        cannot(str(error))


def cannot(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run with any installation; in CI, too."""
    pytest.skip(f"not on this machine: {reason}")


def _missing(what: str) -> NoReturn:
    if IN_CI:
        pytest.fail(f"missing, though CI has to install it: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for what, and in which files."""
    reasons: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple):
            reason = " ".join(report.longrepr[2].removeprefix("Skipped: ").split())
            reasons[reason] += 1
            files.setdefault(reason, set()).add(report.nodeid.partition("::")[0])
    if not reasons:
        return
    terminalreporter.section(f"{reasons.total()} skipped", sep="-")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(
            f"{count:5}  {reason}\n       {', '.join(sorted(files[reason]))}"
        )
