"""Sinks: secrets are replaced atomically, the previous one is kept, and no other user can read them."""

import asyncio
import json
import shlex
import stat
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.kubernetes_api import TOKEN, KubernetesApi, kubernetes_api, make_certificate

from sidecar.keys.secret import Secret
from sidecar.keys.settings import KubernetesSettings
from sidecar.keys.sinks.command import CommandSink
from sidecar.keys.sinks.factory import open_sink
from sidecar.keys.sinks.file import FileSink
from sidecar.keys.sinks.kubernetes import KubernetesSink
from sidecar.keys.sinks.sink import Sink, SinkError

T = TypeVar("T")

OLD, NEW = Secret("old-s3cr3t"), Secret("new-s3cr3t")

# Keeps secrets as a vault's own program might: in two files.
VAULT = """
import hashlib, json, os, pathlib, shutil, sys
assert not [name for name in os.environ if name.startswith("SIDECAR_")]
folder, verb = pathlib.Path(sys.argv[1]), sys.argv[2]
now, before = folder / "now", folder / "before"
with (folder / "verbs").open("a") as verbs:
    verbs.write(" ".join(sys.argv[2:]) + "\\n")
if verb == "store":
    if now.exists():
        shutil.copy(now, before)
    now.write_text(json.load(sys.stdin)["api_key"])
elif verb == "holds" and now.exists():
    print(hashlib.sha256(now.read_bytes()).hexdigest())
elif verb == "restore":
    shutil.copy(before, now)
elif verb == "forget":
    before.unlink(missing_ok=True)
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of a CA, and of its certificate for loopback."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cluster(certificate: tuple[Path, Path]) -> Iterator[KubernetesApi]:
    """A stand-in for Kubernetes."""
    with kubernetes_api(certificate[1]) as server:
        yield server


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The file with the service account's token."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end."""
    return asyncio.run(work)


def in_cluster(cluster: KubernetesApi, token: Path, ca: Path, name: str = "mistral") -> Any:
    """Return a function that opens the sink in a running loop."""
    return lambda: KubernetesSink("apps", name, KubernetesSettings(cluster.url, token, ca))


def vault(folder: Path) -> CommandSink:
    """Return a sink that is a program."""
    script = folder / "vault.py"
    script.write_text(VAULT)
    folder.joinpath("vault").mkdir(exist_ok=True)
    return CommandSink(shlex.join([sys.executable, str(script), str(folder / "vault")]))


@pytest.mark.parametrize("kind", ["file", "bare-file", "command", "kubernetes"])
def test_every_sink_stores_restores_and_forgets(
    kind: str, cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each step may be repeated, as after a crash."""
    monkeypatch.setenv("SIDECAR_LEDGER", "a setting of the sidecar's own")

    def open_it() -> Sink:
        match kind:
            case "command":
                return vault(tmp_path)
            case "kubernetes":
                opened: Sink = in_cluster(cluster, token, certificate[0])()
                return opened
        return FileSink(tmp_path / "key", bare=kind == "bare-file")

    async def live() -> None:
        sink = open_it()
        assert await sink.holds() == ""
        await sink.store("dev-team-key", 1, OLD)
        assert await sink.holds() == OLD.digest
        for _ in range(1 if kind == "command" else 2):
            await sink.store("dev-team-key", 2, NEW)
        assert await sink.holds() == NEW.digest
        for _ in range(2):
            await sink.restore()
            assert await sink.holds() == OLD.digest
        for _ in range(2):
            await sink.forget()
        with pytest.raises(SinkError) as caught:
            await sink.restore()
        assert "s3cr3t" not in str(caught.value)
        assert await sink.holds() == OLD.digest
        await sink.close()

    run(live())


def test_a_file_is_for_its_owner_alone_and_has_the_version(tmp_path: Path) -> None:
    """JSON for apps that say which version they use; nothing else stays in the folder."""
    path = tmp_path / "key.json"
    sink = FileSink(path)
    run(sink.store("dev-team-key", 3, NEW))
    assert json.loads(path.read_text()) == {"key_id": "dev-team-key#3", "api_key": "new-s3cr3t"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["key.json"]


def test_a_bare_file_has_the_secret_and_nothing_more(tmp_path: Path) -> None:
    """For apps that read a file as it is."""
    run(FileSink(tmp_path / "key", bare=True).store("dev-team-key", 3, NEW))
    assert (tmp_path / "key").read_text() == "new-s3cr3t\n"


def test_what_a_crash_left_half_written_is_written_over(tmp_path: Path) -> None:
    """No secret stays in a half-written file, and a file has no mode but its owner's."""
    left = tmp_path / ".key.json.0123456789abcdef.new"
    left.write_text('{"api_key": "half')
    left.chmod(0o644)
    run(FileSink(tmp_path / "key.json").store("dev-team-key", 3, NEW))
    assert not left.exists()
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_a_folder_that_is_full_or_gone_leaves_the_old_secret(tmp_path: Path) -> None:
    """The error says where, and has no secret."""
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = FileSink(folder / "key")
    (folder / ".key.0123456789abcdef.new").mkdir()
    with pytest.raises(SinkError, match=r"key: cannot be written") as caught:
        run(sink.store("dev-team-key", 3, NEW))
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(ValueError, match="its folder does not exist"):
        FileSink(tmp_path / "nowhere" / "key")


def test_a_command_gets_the_secret_on_standard_input_alone(tmp_path: Path) -> None:
    """Its arguments are one word; its environment has no setting of the sidecar's."""
    run(vault(tmp_path).store("dev-team-key", 2, NEW))
    assert (tmp_path / "vault" / "verbs").read_text() == "store\n"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("print('new-s3cr3t')", "does not print a SHA-256"),
        ("import time; time.sleep(60)", "killed after 0.5 s"),
    ],
)
def test_a_command_that_fails_says_how(program: str, message: str) -> None:
    """And nothing of what it printed."""
    sink = CommandSink(shlex.join([sys.executable, "-c", program]), timeout_seconds=0.5)
    with pytest.raises(SinkError, match=message) as caught:
        run(sink.holds())
    assert "s3cr3t" not in str(caught.value)


def test_other_entries_of_a_kubernetes_secret_are_kept(
    cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path]
) -> None:
    """Only the key, its version and the previous ones are changed."""
    cluster.put(api_key="old-s3cr3t", key_id="dev-team-key#1")

    async def store(forget: bool) -> dict[str, str]:
        sink = in_cluster(cluster, token, certificate[0])()
        await sink.store("dev-team-key", 2, NEW)
        if forget:
            await sink.forget()
        return cluster.entries

    both = {"other": "untouched", "api-key": "new-s3cr3t", "key-id": "dev-team-key#2"}
    before = {"previous-api-key": "old-s3cr3t", "previous-key-id": "dev-team-key#1"}
    assert run(store(forget=False)) == {**both, **before}
    assert run(store(forget=True)) == both


def test_a_concurrent_change_of_the_secret_is_never_lost(
    cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path]
) -> None:
    """After a conflict it is read again; endless conflicts are an error."""
    cluster.meanwhile = [lambda: cluster.put(theirs="precious")] * 2
    sink = in_cluster(cluster, token, certificate[0])
    run(sink().store("dev-team-key", 2, NEW))
    assert (cluster.entries["theirs"], cluster.entries["api-key"]) == ("precious", "new-s3cr3t")
    cluster.meanwhile = [lambda: cluster.put(theirs="precious")] * 99
    with pytest.raises(SinkError, match="another writer keeps changing"):
        run(sink().store("dev-team-key", 3, OLD))


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "token is not accepted"), (403, "verbs get and patch"), (500, "try again later")],
)
def test_a_cluster_that_refuses_says_what_is_missing(
    status: int, message: str, cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path]
) -> None:
    """Without the token, and without what the cluster said."""
    cluster.status = status
    with pytest.raises(SinkError, match=message) as caught:
        run(in_cluster(cluster, token, certificate[0])().holds())
    assert TOKEN not in str(caught.value)


def test_a_missing_kubernetes_secret_is_not_created(
    cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path]
) -> None:
    """So the sidecar needs no right to create Secrets."""
    with pytest.raises(SinkError, match="kubectl create secret generic"):
        run(in_cluster(cluster, token, certificate[0], name="others")().holds())


def test_after_a_lost_response_the_secret_is_found_to_be_stored(
    cluster: KubernetesApi, token: Path, certificate: tuple[Path, Path]
) -> None:
    """The patch had its effect."""
    cluster.lost = 1
    sink = in_cluster(cluster, token, certificate[0])
    with pytest.raises(SinkError, match="no response"):
        run(sink().store("dev-team-key", 2, NEW))
    assert run(sink().holds()) == NEW.digest


def test_the_token_is_not_sent_to_a_cluster_with_another_certificate(
    cluster: KubernetesApi, token: Path, tmp_path: Path
) -> None:
    """Another certificate than the one in the CA file is refused."""
    other = tmp_path / "other"
    other.mkdir()
    ca, _ = make_certificate(other)
    with pytest.raises(SinkError, match="no response: ConnectError"):
        run(in_cluster(cluster, token, ca)().holds())
    with pytest.raises(ValueError, match="has no certificates in PEM"):
        run(_open(cluster, token, tmp_path / "nothing"))


async def _open(cluster: KubernetesApi, token: Path, ca: Path) -> Sink:
    opened: Sink = in_cluster(cluster, token, ca)()
    return opened


@pytest.mark.parametrize(
    "text", ["", "file:", "kubernetes:apps", "kubernetes:/x", "vault:x", "command:/nowhere/x"]
)
def test_an_unknown_kind_of_sink_is_refused(text: str) -> None:
    """The error lists the kinds."""
    with pytest.raises(ValueError, match=r"must be file:PATH|not an executable program"):
        open_sink(text, "dev-team-key", KubernetesSettings())


@pytest.mark.parametrize("key_id", ["../../etc/x", "a b", "x'", "..", ".", ".hidden"])
def test_a_keys_id_cannot_change_the_path_of_the_sink(key_id: str, tmp_path: Path) -> None:
    """{key} is replaced only by a plain word."""
    with pytest.raises(ValueError, match="cannot replace"):
        open_sink(f"file:{tmp_path}/{{key}}", key_id, KubernetesSettings())
