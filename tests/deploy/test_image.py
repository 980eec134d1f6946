"""The image: its Dockerfile's own steps are run, and what they leave is started as a pod would."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import tools
from support.image import Image, build, instructions, need_roots
from support.sidecar_process import chat, recorded, stub

from sidecar import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
STEPS = instructions(DOCKERFILE)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the Dockerfile's steps leave."""
    need_roots()
    return build(DOCKERFILE, tmp_path_factory.mktemp("image"), COMMIT="0123abc")


class Pod:
    """One container of the image, and the volumes that outlive it."""

    def __init__(self, image: Image, folder: Path) -> None:
        """Make the volumes."""
        self._image = image
        self.volumes = {"/var/lib/sidecar": folder / "ledger", "/run/sidecar": folder / "run"}
        for volume in self.volumes.values():
            volume.mkdir()
            shutil.chown(volume, 65532, 65532)
        self.log = ""

    def start(self) -> None:
        """Start the container, and wait until it serves."""
        self._outside = self._image.start(self.volumes)
        assert self._outside.stderr is not None
        self.log = ""
        for line in self._outside.stderr:
            self.log += line
            if "SERVING" in line:
                break
        else:
            self._outside.communicate()
            raise AssertionError(f"exit code {self._outside.returncode}: {self.log}")
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children")
        self.pid = int(children.read_text())
        self.stub = stub(f"unix:{self.volumes['/run/sidecar']}/sidecar.sock")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal process 1 of the container, and return how it ended."""
        if self._outside.poll() is None:
            os.kill(self.pid, number)
        _, rest = self._outside.communicate(timeout=30)
        self.log += rest
        return self._outside.returncode

    def status(self) -> dict[str, str]:
        """Return what the kernel says of process 1."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


@pytest.fixture
def pod(image: Image) -> Iterator[Pod]:
    """A pod, with a short path: that of a socket may not be long."""
    with tempfile.TemporaryDirectory(prefix="pod-") as folder:
        one = Pod(image, Path(folder))
        Path(folder).chmod(0o755)
        one.start()
        yield one
        one.stop(signal.SIGKILL)


def test_the_image_serves_as_an_unprivileged_user_on_a_read_only_root(
    pod: Pod, image: Image
) -> None:
    """As process 1, user 65532, without capabilities; it writes only to its volumes."""
    assert pod.stub.Authorize(chat(request_id="one")).effect == pb.EFFECT_ALLOW
    status = pod.status()
    assert status["NSpid"].split()[-1] == "1"
    assert (status["Uid"].split(), status["Gid"].split()) == (["65532"] * 4, ["65532"] * 4)
    assert {"0"} == {status[name].strip("0") or "0" for name in ("CapEff", "CapPrm", "CapBnd")}
    assert status["NoNewPrivs"] == "1"
    files = {file.name for volume in pod.volumes.values() for file in volume.iterdir()}
    assert {name.partition("-")[0] for name in files} == {
        "ledger.sqlite", "ledger.sqlite.lock", "ledger.sqlite.reserve", "sidecar.sock",
    }  # fmt: skip
    assert list((image.root / "tmp").iterdir()) == []


def test_sigterm_ends_process_1_and_the_next_continues_on_its_ledger(pod: Pod) -> None:
    """L3, L4: a clean exit, then the same response to the same request."""
    first = pod.stub.Authorize(chat(request_id="one"))
    assert pod.stop() == 0
    assert "stopped" in pod.log
    pod.start()
    assert recorded(first) == recorded(pod.stub.Authorize(chat(request_id="one")))


def test_sigkill_loses_nothing_and_the_socket_is_reused(pod: Pod) -> None:
    """L4: the socket and the lock of a killed process do not block the next one."""
    first = pod.stub.Authorize(chat(request_id="one"))
    assert pod.stop(signal.SIGKILL) != 0
    pod.start()
    assert recorded(first) == recorded(pod.stub.Authorize(chat(request_id="one")))


def test_an_app_of_another_user_can_call_and_cannot_replace_the_socket(
    pod: Pod, image: Image
) -> None:
    """With the volume's group, mounted read-only, it connects and changes nothing."""
    volume = {"/run/sidecar": pod.volumes["/run/sidecar"]}
    command = ("python", "-m", "sidecar", "budgets", "--address", "unix:/run/sidecar/sidecar.sock",
           "--principal", "ada", "--role", "developer", "--workspace", "dev-workspace")  # fmt: skip
    for words, groups, error in (
        (command, "65532", ""),
        (command, "", "Permission denied"),
        (("rm", "/run/sidecar/sidecar.sock"), "65532", "Read-only file system"),
        (("mv", "/run/sidecar/sidecar.sock", "/run/sidecar/x"), "65532", "Read-only file system"),
    ):
        app = image.start(volume, *words, user="10001:10001", groups=groups, mode="ro")
        message = app.communicate(timeout=60)[1]
        assert (app.returncode == 0, error in message) == (not error, True), message


def test_a_volume_that_cannot_be_written_is_named(image: Image, tmp_path: Path) -> None:
    """Without fsGroup a claim belongs to root: the log says what cannot be written."""
    pod = Pod(image, tmp_path)
    shutil.chown(pod.volumes["/var/lib/sidecar"], 0, 0)
    with pytest.raises(
        AssertionError, match=r"exit code 1: .* cannot be written: Permission denied"
    ):
        pod.start()


def test_no_build_or_test_tools_remain_in_the_image(image: Image) -> None:
    """No pip, nothing to install one from, no fixtures, and no schemas."""
    local = image.root / "usr/local"
    left = [
        *local.rglob("pip"),
        *local.rglob("pip-*"),
        *local.rglob("ensurepip"),
        *local.rglob("*.whl"),
    ]
    assert left == []
    assert [*(image.root / "opt/packages").glob("pip*")] == []
    shipped = {file.name for file in (image.root / "etc/sidecar/policies").iterdir()}
    assert shipped == {f.name for f in (ROOT / "policies").glob("[!.]*") if "_test." not in f.name}


def test_the_image_knows_the_commit_of_its_build(image: Image) -> None:
    """`sidecar --version` prints what was given as --build-arg COMMIT."""
    shown = image.start({}, "sh", "-c", "python -m sidecar --version >&2")
    assert shown.communicate(timeout=60)[1] == f"sidecar {__version__} (commit 0123abc)\n"


def test_bytecode_is_compiled_and_used(image: Image) -> None:
    """Every module of ours, of others and of Python has it; on a read-only root none is made."""
    for folder in (image.root / "opt/packages", image.root / "usr/local/lib"):
        without = [
            source
            for source in folder.rglob("*.py")
            if not [*source.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc")]
        ]
        assert without == []
        for compiled in folder.rglob("*.pyc"):
            assert compiled.read_bytes()[4] == 1, compiled  # PEP 552: a hash that is not checked


def test_the_image_is_pinned_and_installs_by_hashes() -> None:
    """One tag of one Python for both stages; wheels alone, by the hashes of the lock file."""
    assert ("ARG", "PYTHON=3.12.11-slim-bookworm") in STEPS
    bases = [rest.split()[0] for word, rest in STEPS if word == "FROM"]
    assert bases == ["python:${PYTHON}"] * 2
    (install,) = [rest for _, rest in STEPS if "pip install" in rest]
    assert "--require-hashes --only-binary=:all:" in install
    lock = (ROOT / "requirements.lock").read_text()
    assert all("--hash=sha256:" in entry for entry in re.split(r"(?m)^(?=[a-z])", lock)[1:])


def test_dockerignore_keeps_all_that_the_dockerfile_copies() -> None:
    """.dockerignore lets through what the Dockerfile copies, no fixtures, and no schemas."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = {
        name
        for word, rest in STEPS
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }
    assert sources == {line[1:] for line in ignored if line.startswith("!")}
    assert {"*", "policies/*_test.yaml", "**/__pycache__"} <= set(ignored)


def test_exec_form_everywhere() -> None:
    """A shell as process 1 would keep SIGTERM to itself."""
    for word, rest in STEPS:
        if word in {"ENTRYPOINT", "CMD"}:
            assert rest.startswith('["')
        if word == "HEALTHCHECK":
            assert ' CMD ["python", "-m", "sidecar", "healthz"' in rest


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    """What hadolint says of it is nothing."""
    done = subprocess.run(  # noqa: S603
        [tools.program("hadolint"), "--failure-threshold", "info", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
