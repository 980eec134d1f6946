"""The languages of the sample programs: which tools each needs, and how it is built and run."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.mistral_standin import API_KEY
from support.npm import RETRIES
from support.tools import MissingError, require

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent
BUILD = ROOT / "build" / "clients"
PROTO = ROOT / "proto" / "sidecar" / "v1" / "authorization.proto"
PROTOC = (sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", str(PROTO))
INSTALL_SECONDS, COMPILE_SECONDS, RUN_SECONDS = 300, 600, 120

Command = tuple[str, ...]


@dataclass(frozen=True)
class Language:
    """One language. Its commands run in build/clients/NAME, over a copy of its sources."""

    name: str
    tools: tuple[str, ...]
    """Programs without which it is left out."""
    install: tuple[Command, ...]
    """Fetch packages: where one fails, the language is left out."""
    compile: tuple[Command, ...]
    """Generate code and compile it: where one fails, so do the tests."""
    run: Command
    tcp_because: str = ""
    """Why it cannot use a Unix socket, if it cannot."""


LANGUAGES = (
    Language(
        name="python",
        tools=(),
        install=(),
        compile=(
            (*PROTOC, "--python_out=.", "--grpc_python_out=."),
            # Or the sidecar's own package, which is installed here, would be found instead.
            ("touch", "sidecar/__init__.py"),
        ),
        run=(sys.executable, "client.py"),
    ),
    Language(
        name="go",
        tools=("go",),
        install=(("go", "mod", "download"),),
        compile=(
            ("go", "build", "-o", "bin/", "tool"),
            (
                *PROTOC,
                "--plugin=bin/protoc-gen-go",
                "--plugin=bin/protoc-gen-go-grpc",
                *(
                    f"--{plugin}_{option}"
                    for plugin in ("go", "go-grpc")
                    for option in (
                        "out=.",
                        "opt=module=client",
                        "opt=Msidecar/v1/authorization.proto=client/sidecarv1",
                    )
                ),
            ),
            ("go", "build", "-o", "client", "."),
        ),
        run=("./client",),
    ),
    Language(
        name="typescript",
        tools=("node", "npm"),
        install=(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *RETRIES),),
        compile=(
            # The loader of protos reads this one when the program starts; generated are types.
            ("cp", str(PROTO), "."),
            (
                "node_modules/.bin/proto-loader-gen-types",
                *("--includeDirs=.", "--longs=Number", "--enums=String", "--defaults", "--arrays"),
                *("--grpcLib=@grpc/grpc-js", "--importFileExtension=.js", "--outDir=generated"),
                "authorization.proto",
            ),
            ("node_modules/.bin/tsc",),
        ),
        run=("node", "client.js"),
    ),
    Language(
        name="java",
        tools=("javac", "mvn"),
        # Everything but the compiler itself, so that it needs no network afterwards.
        install=(("mvn", "-B", "-q", "-Dmaven.main.skip", "compile"),),
        compile=(("mvn", "-B", "-q", "-o", "compile"),),
        # Flags for a process that lives for a second.
        run=(
            *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *("-cp", "target/classes:target/dependency/*", "Client"),
        ),
    ),
    Language(
        name="rust",
        tools=("cargo",),
        install=(("cargo", "fetch", "--locked"),),
        compile=(
            (
                *("env", f"PYTHON={sys.executable}", f"PROTOC={SOURCES / 'protoc'}"),
                *("cargo", "build", "--quiet", "--frozen", "--target-dir=target"),
            ),
        ),
        run=("target/debug/client",),
    ),
    Language(
        name="cpp",
        tools=("g++", "make", "pkg-config", "protoc", "grpc_cpp_plugin"),
        # Packages of the system: they are found, or not.
        install=(
            ("pkg-config", "--exists", "--print-errors", "grpc++", "cpp-httplib", "nlohmann_json"),
        ),
        compile=(("make", "--silent", "--jobs=2"),),
        run=("./client",),
    ),
)


@dataclass(frozen=True)
class Program:
    """A language's program, ready to be run."""

    language: Language

    def start(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(  # noqa: S603 - our own program
            [*self.language.run, *args],
            cwd=BUILD / self.language.name,
            env={**os.environ, "MISTRAL_API_KEY": API_KEY},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def __call__(self, command: str, **flags: object) -> dict[str, Any]:
        """Run a command that has to give a result; return that. `_` in a flag stands for `-`."""
        pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items()]
        done = self.start(command, *(word for pair in pairs for word in pair))
        assert done.returncode == 0, done.stdout + done.stderr
        (line,) = done.stdout.splitlines()
        result: dict[str, Any] = json.loads(line)
        return result


def build(language: Language) -> Program:
    """Build its program, unless it is there and nothing has changed.

    Raises MissingError where a tool or a package is missing, and AssertionError
    where it does not compile.
    """
    for tool in language.tools:
        require(tool)
    with _alone_in(language) as folder:
        built = folder / ".built"
        digest = _digest(language)
        if not built.exists() or built.read_text() != digest:
            shutil.copytree(SOURCES / language.name, folder, dirs_exist_ok=True)
            for command in language.install:
                _install(command, folder)
            for command in language.compile:
                _compile(command, folder)
            built.write_text(digest)
    return Program(language)


def build_beside(language: Language, source: str, text: str, command: Command) -> None:
    """Compile one more source in the folder of a language that is built, with all that is there.

    Raises AssertionError where it does not compile.
    """
    with _alone_in(language) as folder:
        path = folder / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        _compile(command, folder)


@contextmanager
def _alone_in(language: Language) -> Iterator[Path]:
    """Lock: other test workers may build the same program."""
    folder = BUILD / language.name
    folder.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{language.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _compile(command: Command, folder: Path) -> None:
    done = _run(command, folder, COMPILE_SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def _install(command: Command, folder: Path) -> None:
    try:
        done = _run(command, folder, INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"{error}") from None
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["it does not say why"]
        cause = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise MissingError(f"{' '.join(command[:2])}: {cause.strip()}")


def _run(command: Command, folder: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - from the table above
        command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )


def _digest(language: Language) -> str:
    digest = hashlib.sha256(repr(language).encode())
    sources = (path for path in (SOURCES / language.name).rglob("*") if path.is_file())
    for path in (PROTO, *sorted(sources)):
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
