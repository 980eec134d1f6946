"""Signed policy sets, with keys made by openssl."""

import base64
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import tools
from support.commands import sidecar
from support.configmap import ConfigMap, texts
from support.policies import deny, minimal
from support.sidecar_process import RunningSidecar, eventually, tester

from sidecar.policy import policy_set

Start = Callable[..., RunningSidecar]


def openssl(*args: object) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)  # noqa: S603, S607


class Keys:
    """A key pair, in PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make the pair, as in docs/running.md."""
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}-public.pem"
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """A trusted key pair."""
    tools.program("openssl")
    return Keys(tmp_path, "ours")


@pytest.fixture
def signed(tmp_path: Path, keys: Keys) -> Path:
    """A directory that is signed."""
    path = minimal(tmp_path / "p", x=deny("false"))
    code, out, err = sidecar("sign", path, "--key", keys.private)
    assert (code, policy_set.load(path).digest in out) == (0, True), err
    return path


def test_a_signed_set_verifies_and_keeps_its_digest(signed: Path, keys: Keys) -> None:
    """The digest covers neither the signature nor notes and fixtures."""
    before = policy_set.load(signed).digest
    (signed / "README.md").write_text("a note")
    code, out, _ = sidecar("verify", signed, "--key", keys.public)
    assert (code, f"digest {before}, signed with " in out) == (0, True)
    (signed / "policies.sig").unlink()
    assert before == policy_set.load(signed).digest


def altered(**changes: str) -> Callable[[Path], None]:
    """Change what a signature says."""

    def change(path: Path) -> None:
        file = path / "policies.sig"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda path: (path / "policies.sig").unlink(), "the set is not signed"),
        (lambda path: (path / "x.cel").write_text(deny("true")), "the files were changed"),
        (lambda path: (path / "x.cel").unlink(), "the files were changed"),
        (lambda path: (path / "y.cel").write_text(deny("true")), "the files were changed"),
        (lambda path: (path / "x.cel").rename(path / "z.cel"), "the files were changed"),
        (altered(signed_at="2036-01-01T00:00:00.000000Z"), "does not match its digest and time"),
        (altered(signed_at="2036-13-01T00:00:00.000000Z"), "does not match its digest and time"),
        (altered(signed_at="soon"), "is not a signature file"),
        (altered(digest="0" * 64), "does not match its digest and time"),
        (altered(key="0" * 16), "a key that is not trusted here"),
        (altered(signature="AAAA"), "does not match its digest and time"),
        (altered(signature=base64.b64encode(bytes(64)).decode()), "does not match its digest and time"),
        (altered(signature="not base64"), "does not match its digest and time"),
        (altered(more="1"), "is not a signature file"),
        (lambda path: (path / "policies.sig").write_text("[" * 100_000), "is not a signature file"),
        (lambda path: (path / "policies.sig").write_text('{"key": 1}'), "is not a signature file"),
    ],
)  # fmt: skip
def test_a_set_that_was_changed_or_is_signed_wrongly_is_refused(
    harm: Callable[[Path], None], expected: str, signed: Path, keys: Keys, tmp_path: Path
) -> None:
    """By verify, and by serve at its start: exit 1."""
    harm(signed)
    code, _, err = sidecar("verify", signed, "--key", keys.public)
    assert (code, expected in err) == (1, True), err
    code, _, err = sidecar(
        "serve", "--policies", signed, "--ledger", tmp_path / "l.sqlite", "--listen", "127.0.0.1:0",
        "--require-signature", keys.public,
    )  # fmt: skip
    assert (code, expected in err) == (1, True), err


def test_only_signatures_of_trusted_keys_are_valid(
    signed: Path, keys: Keys, tmp_path: Path
) -> None:
    """With two trusted keys, either is enough."""
    others = Keys(tmp_path, "theirs")
    assert sidecar("verify", signed, "--key", others.public)[0] == 1
    assert sidecar("verify", signed, "--key", others.public, "--key", keys.public)[0] == 0


def test_files_that_are_no_keys_are_wrong_usage(signed: Path, keys: Keys, tmp_path: Path) -> None:
    """Each kind has its own error, which shows nothing of the file."""
    rsa, secret = tmp_path / "rsa.pem", tmp_path / "secret.pem"
    openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", rsa)
    openssl("pkey", "-in", keys.private, "-aes256", "-passout", "pass:x", "-out", secret)
    for command, key, expected in (
        ("sign", keys.public, "is not a private Ed25519 key"),
        ("sign", rsa, "is not a private Ed25519 key"),
        ("sign", secret, "is encrypted"),
        ("sign", tmp_path / "gone", "cannot be read"),
        ("verify", keys.private, "is not a public Ed25519 key"),
        ("verify", signed / "x.cel", "is not a public Ed25519 key"),
    ):
        code, _, err = sidecar(command, signed, "--key", key)
        assert (code, expected in err, "effect" in err) == (2, True, False), err


def test_a_set_that_does_not_load_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    """A set that does not load cannot be signed."""
    path = minimal(tmp_path / "q", x="nothing")
    assert sidecar("sign", path, "--key", keys.private)[0] == 1
    assert not (path / "policies.sig").exists()


def generation(running: RunningSidecar) -> int:
    """Return the generation that is served."""
    answer = running.stub.GetBudgets(pb.GetBudgetsRequest(principal=tester()))
    return int(answer.policy_generation)


def test_a_running_sidecar_takes_signed_sets_alone_and_never_an_older_one(
    start_sidecar: Start, signed: Path, keys: Keys, tmp_path: Path
) -> None:
    """Unsigned, changed, signed by others, or signed before: the last good set goes on."""
    first = texts(signed)
    mounted = ConfigMap(tmp_path / "volume", first)
    often = ("--reload-seconds", "0.05", "--require-signature", str(keys.public))
    running = start_sidecar(mounted.volume, *often)

    def refused(files: dict[str, str], expected: int) -> None:
        mounted.update(files)
        threading.Event().wait(0.7)
        assert generation(running) == expected

    (signed / "x.cel").write_text(deny("request.tokens > 5000"))
    refused(texts(signed), 1)
    assert sidecar("sign", signed, "--key", Keys(tmp_path, "theirs").private)[0] == 0
    refused(texts(signed), 1)
    assert sidecar("sign", signed, "--key", keys.private)[0] == 0
    mounted.update(texts(signed))
    eventually(lambda: generation(running) == 2, 60)
    refused(first, 2)
    running.stop()
    for expected in ("the files were changed", "not trusted here", "was signed before the set"):
        assert expected in running.log


def test_only_a_set_with_a_required_digest_is_served(start_sidecar: Start, tmp_path: Path) -> None:
    """At start and on reload; several digests let a change be announced first."""
    path = minimal(tmp_path / "p")
    one = policy_set.load(path).digest
    (path / "x.cel").write_text(deny("false"))
    two = policy_set.load(path).digest
    serve = ("serve", "--policies", path, "--ledger", tmp_path / "l.sqlite")
    code, _, err = sidecar(*serve, "--require-digest", one)
    assert (code, f"has the digest {two}" in err) == (1, True)
    code, _, err = sidecar(*serve, "--require-digest", two[:12])
    assert (code, "is not a digest of 64 hexadecimal digits" in err) == (2, True)
    (path / "x.cel").unlink()
    required = ("--require-digest", one, "--require-digest", two)
    running = start_sidecar(path, "--reload-seconds", "0.05", *required)
    (path / "y.cel").write_text(deny("false"))
    threading.Event().wait(0.7)
    assert generation(running) == 1
    (path / "y.cel").rename(path / "x.cel")
    eventually(lambda: generation(running) == 2, 60)
