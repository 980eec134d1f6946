"""Policy directories that change while they are read: no load mixes two versions."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.configmap import ConfigMap, texts
from support.policies import deny, minimal

from sidecar.policy import policy_set
from sidecar.policy.files import directory, fingerprint
from sidecar.policy.files.problems import PolicyError, Problem
from sidecar.policy_tools.testing import fixtures


def version(folder: Path, number: int) -> dict[str, str]:
    """Write a set in which every rule has the version in its message."""
    rules = {f"r_{n}": deny(f"request.tokens > {number}") for n in range(20)}
    return texts(minimal(folder / str(number), **rules, **{f"only_{number}": deny("false")}))


@contextmanager
def meanwhile(work: Iterator[None]) -> Iterator[None]:
    """Repeat steps in another thread while the block runs."""
    ended = threading.Event()

    def run() -> None:
        for _ in work:
            if ended.is_set():
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_configmap_that_is_swapped_while_it_is_read_gives_one_version(tmp_path: Path) -> None:
    """At any moment: all rules are of one version, and there is no problem."""
    versions = [version(tmp_path, number) for number in range(2)]
    mounted = ConfigMap(tmp_path / "volume", versions[0])

    def swaps() -> Iterator[None]:
        for number in range(100_000):
            mounted.update(versions[number % 2])
            threading.Event().wait(0.01)
            yield

    expected = {frozenset(name for name in one if name.endswith(".cel")) for one in versions}
    seen = set()
    with meanwhile(swaps()):
        for _ in range(60):
            try:
                files = directory.read(mounted.volume)
            except PolicyError as error:
                assert "changing while it is read" in str(error)  # noqa: PT017 - either will do
                continue
            assert files.problems == []
            assert len({text for name, text in files.rules.items() if name.startswith("r-")}) == 1
            assert frozenset(files.rules) in expected
            seen.add(files.digest)
    assert len(seen) == 2


def test_a_plain_directory_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """Old and new files are never mixed."""
    path = minimal(tmp_path / "p", **{f"r_{n}": deny(f"request.tokens > {n}") for n in range(50)})
    read_text = directory.read_text
    touched: list[Path] = []

    def read_and_replace(file: Path) -> tuple[str, list[Problem]]:
        if file.name == "r-9.cel" and not touched:
            touched.append(file)
            (path / "r-1.cel").write_text(deny("request.tokens > 100"))
        return read_text(file)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(directory, "read_text", read_and_replace)
        found = directory.read(path)
    assert (touched, found.digest) == ([path / "r-9.cel"], directory.read(path).digest)


def test_a_directory_that_changes_constantly_is_refused(tmp_path: Path) -> None:
    """It is reported, and not read forever."""
    path = minimal(tmp_path / "p", **{f"r_{n}": deny(f"request.tokens > {n}") for n in range(9)})
    read_text, numbers = directory.read_text, itertools.count()

    def read_and_write(file: Path) -> tuple[str, list[Problem]]:
        (path / "roles.md").write_text(str(next(numbers)))
        return read_text(file)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(directory, "read_text", read_and_write)
        with pytest.raises(PolicyError, match="changing while it is read"):
            directory.read(path)
    assert next(numbers) > 10


def test_a_configmap_is_the_same_set_as_its_files(tmp_path: Path) -> None:
    """Digest, rules and fixtures are those of a plain directory."""
    plain = minimal(tmp_path / "plain", x=deny("false"))
    (plain / "x_test.yaml").write_text("tests: []\n")
    mounted = ConfigMap(tmp_path / "volume", texts(plain))
    assert policy_set.load(plain).digest == policy_set.load(mounted.volume).digest
    assert fixtures.read(plain) == fixtures.read(mounted.volume)


def test_a_link_to_the_directory_is_followed_once(tmp_path: Path) -> None:
    """As git-sync turns one: the set it led to when the reading began."""
    for number in range(2):
        minimal(tmp_path / str(number), x=deny(f"request.tokens > {number}"))
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "0")
    before = fingerprint.stat_directory(link), policy_set.load(link).digest
    link.unlink()
    link.symlink_to(tmp_path / "1")
    assert before != (fingerprint.stat_directory(link), policy_set.load(link).digest)
    assert policy_set.load(tmp_path / "1").digest == policy_set.load(link).digest


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/etc", "a ..data that links to a folder outside the directory"),
        ("..", "a ..data that links to a folder outside the directory"),
        ("gone", "cannot be read: No such file or directory"),
        ("..data", "cannot be read: "),
    ],
)
def test_a_data_link_out_of_the_directory_is_refused(
    target: str, expected: str, tmp_path: Path
) -> None:
    """Nothing outside of the directory is ever read."""
    path = minimal(tmp_path / "p")
    (path / "..data").symlink_to(target)
    with pytest.raises(PolicyError, match=expected):
        directory.read(path)
    assert fingerprint.stat_directory(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "roles.yaml").write_text((path / "roles.yaml").read_text()),
        lambda path: (path / "more.cel").write_text("true"),
        lambda path: (path / "allow-all.cel").unlink(),
        lambda path: (path / "allow-all.cel").chmod(0o600),
        lambda path: (path / "allow-all.cel").rename(path / "allow-some.cel"),
        lambda path: path.rename(path.with_name("elsewhere")),
        lambda path: os.utime(path / "roles.yaml", ns=(5, 5)),
    ],
)
def test_the_fingerprint_changes_with_every_change(change: object, tmp_path: Path) -> None:
    """Without a change it stays the same."""
    path = minimal(tmp_path / "p")
    before = fingerprint.stat_directory(path)
    assert before == fingerprint.stat_directory(path)
    threading.Event().wait(0.02)  # a tick of the kernel's clock
    change(path)  # type: ignore[operator]
    assert before != fingerprint.stat_directory(path)
