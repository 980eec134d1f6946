"""The wheel and the source distribution, built as `make dist` builds them."""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from support import tools
from support.commands import started
from support.image import instructions
from support.tools import ROOT

import sidecar

PATTERNS = ("__pycache__", "node_modules", "target", "build", ".*_cache", ".hypothesis", ".venv")


def build(source: Path, target: str, folder: Path) -> Path:
    """Build a distribution with the build backend itself; return its file."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def version_of(wheel: Path, folder: Path) -> str:
    """Return what `sidecar --version` prints, run from the files of a wheel."""
    zipfile.ZipFile(wheel).extractall(folder)  # noqa: S202 - built by ourselves
    code, out, err = started("--version", PYTHONPATH=str(folder), PYTHONSAFEPATH="1")
    assert (code, err) == (0, "")
    return out


def git(source: Path, *words: str) -> str:
    """Run git in a folder, with a placeholder as the author."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    return subprocess.run(  # noqa: S603
        [tools.program("git"), *author, *words],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere"},
    ).stdout.strip()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a distribution is made of, in a folder that is no Git work tree."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "sidecar", folder / "sidecar", ignore=shutil.ignore_patterns(*PATTERNS))
    return folder


@pytest.fixture(scope="module")
def repository(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files, committed."""
    folder = tmp_path_factory.mktemp("repository") / "it"
    shutil.copytree(tree, folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return folder


def test_a_wheel_knows_its_commit(repository: Path, tmp_path: Path) -> None:
    """`sidecar --version` has the version and the whole hash; the work tree stays as it was."""
    commit = git(repository, "rev-parse", "HEAD")
    wheel = build(repository, "wheel", tmp_path / "dist")
    printed = version_of(wheel, tmp_path / "unpacked")
    assert printed == f"sidecar {sidecar.__version__} (commit {commit})\n"
    assert git(repository, "status", "--porcelain", "--ignored") == ""


def test_a_wheel_of_changed_files_says_so(repository: Path, tmp_path: Path) -> None:
    """What was not committed has no commit, so the hash ends with -dirty."""
    changed = tmp_path / "changed"
    shutil.copytree(repository, changed)
    (changed / "README.md").write_text("Changed.\n")
    printed = version_of(build(changed, "wheel", tmp_path / "dist"), tmp_path / "unpacked")
    assert printed.endswith(f" (commit {git(repository, 'rev-parse', 'HEAD')}-dirty)\n")


def test_a_source_distribution_keeps_the_commit(repository: Path, tmp_path: Path) -> None:
    """A wheel that is built from it, where Git is not at hand, prints the same commit."""
    archive = build(repository, "sdist", tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    printed = version_of(build(source, "wheel", tmp_path / "dist"), tmp_path / "unpacked")
    assert git(repository, "rev-parse", "HEAD") in printed


def test_without_git_the_commit_is_unknown(tree: Path, tmp_path: Path) -> None:
    """In a wheel of files without a history, and when it runs from its source."""
    unknown = f"sidecar {sidecar.__version__} (unknown commit)\n"
    assert version_of(build(tree, "wheel", tmp_path / "dist"), tmp_path / "unpacked") == unknown
    assert started("--version") == (0, unknown, "")


def test_a_wheel_holds_the_package_and_its_metadata(repository: Path, tmp_path: Path) -> None:
    """Types, starter set and licence are in it; tests and the build hook are not."""
    archive = zipfile.ZipFile(build(repository, "wheel", tmp_path / "dist"))
    names = set(archive.namelist())
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"sidecar", f"mistral_spend_sidecar-{sidecar.__version__}.dist-info"}
    assert {"sidecar/py.typed", "sidecar/starter/team.yaml"} < names
    (metadata,) = [name for name in names if name.endswith("/METADATA")]
    (licence,) = [name for name in names if name.endswith("/LICENSE")]
    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    fields = email.message_from_bytes(archive.read(metadata))
    assert fields["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in fields.get_all("Classifier", [])


def test_both_wheels_install_together_and_the_client_alone(tree: Path, tmp_path: Path) -> None:
    """They own no file twice; the client imports nothing of the server's."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(*PATTERNS)
    shutil.copytree(ROOT / "clients" / "python", source, ignore=ignored)
    client = build(source, "wheel", tmp_path / "client")
    server = build(tree, "wheel", tmp_path / "server")
    alone, together = tmp_path / "alone", tmp_path / "together"
    install([client], alone)
    install([client, server], together)
    owned = [name for wheel in (client, server) for name in zipfile.ZipFile(wheel).namelist()]
    assert len(owned) == len(set(owned))
    assert all((together / name).is_file() for name in owned)
    program = "import mistral_spend.sidecar_client as m; print(m.__file__)"
    assert imported(program, alone) == str(alone / "mistral_spend" / "sidecar_client.py")
    missing = "from importlib.util import find_spec; print(find_spec('sidecar'))"
    assert imported(missing, alone) == "None"
    program = (
        "import sidecar.server.service as m, mistral_spend as c; print(m.__file__, c.__file__)"
    )
    files = ("sidecar/server/service.py", "mistral_spend/__init__.py")
    assert imported(program, together) == " ".join(str(together / file) for file in files)


def install(wheels: list[Path], folder: Path) -> None:
    """Install wheels into a folder, without what they depend on."""
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-compile",
    ]
    words += ["--disable-pip-version-check", "--target", str(folder), *map(str, wheels)]
    subprocess.run(words, check=True)  # noqa: S603


def imported(program: str, folder: Path) -> str:
    """Run a program with what is installed in a folder, and the dependencies of this Python.

    Editable installations are left out: without `site`, no .pth file is read.
    """
    paths = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    words = [sys.executable, "-P", "-S", "-c", program]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_the_image_and_the_manifests_have_the_version_of_the_package() -> None:
    """One version: of the package, the image's label, and the tag that deploy/ asks for."""
    labels = " ".join(rest for word, rest in instructions(ROOT / "Dockerfile") if word == "LABEL")
    assert f'image.version="{sidecar.__version__}"' in labels
    (manifest,) = (ROOT / "deploy/base").glob("statefulset.yaml")
    images = re.findall(
        r"mistral-spend-sidecar:(\S+)", yaml.safe_dump(yaml.safe_load(manifest.read_text()))
    )
    assert set(images) == {sidecar.__version__}
