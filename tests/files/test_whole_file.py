"""Files that are written whole or not at all."""

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from sidecar.files import whole_file

CONTENTS = [bytes([letter]) * 300_000 for letter in b"abcd"]


def _replace_forever(path: Path, content: bytes) -> None:
    while True:
        whole_file.replace(path, content, 0o600)


def _create(path: Path, content: bytes, results: "multiprocessing.Queue[bytes]") -> None:
    try:
        whole_file.create(path, content)
    except FileExistsError:
        results.put(b"")
    else:
        results.put(content)


def test_a_file_is_whole_at_every_moment(tmp_path: Path) -> None:
    """Several processes replace it; what they leave when they are killed can be removed."""
    path = tmp_path / "file"
    whole_file.replace(path, CONTENTS[0], 0o600)
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_replace_forever, args=(path, one)) for one in CONTENTS]
    for writer in writers:
        writer.start()
    seen: set[bytes] = set()
    while len(seen) < len(CONTENTS):
        content = path.read_bytes()
        assert content in CONTENTS
        seen.add(content)
    for writer in writers:
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert path.read_bytes() in CONTENTS
    tmp_path.joinpath(".file.json.0123456789abcdef.new").write_bytes(b"of another file")
    whole_file.remove_unfinished(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        ".file.json.0123456789abcdef.new",
        "file",
    ]


def test_of_several_who_create_a_file_one_succeeds(tmp_path: Path) -> None:
    """The others are refused, and the file has the content of the one that succeeded."""
    path = tmp_path / "file"
    fork = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bytes] = fork.Queue()
    writers = [fork.Process(target=_create, args=(path, one, results)) for one in CONTENTS]
    for writer in writers:
        writer.start()
    created = [content for content in (results.get(timeout=60) for _ in writers) if content]
    for writer in writers:
        writer.join()
    assert created == [path.read_bytes()]
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """What was there stays; here its place is a folder."""
    place = tmp_path / "folder"
    place.mkdir()
    with pytest.raises(OSError, match="directory"):
        whole_file.replace(place, b"content", 0o600)
    with pytest.raises(FileExistsError):
        whole_file.create(place, b"content")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
