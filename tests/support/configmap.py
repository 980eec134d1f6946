"""A policy directory that is updated as the kubelet updates a ConfigMap's volume."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

_numbers = itertools.count(1)


def texts(directory: Path) -> dict[str, str]:
    """Return the texts of a directory's files, by name."""
    return {file.name: file.read_text() for file in sorted(directory.iterdir())}


class ConfigMap:
    """A volume: a folder for each version, `..data` to the current one, and a link for each key."""

    def __init__(self, volume: Path, files: Mapping[str, str]) -> None:
        """Create the volume."""
        self.volume = volume
        volume.mkdir()
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """Replace the version, in the kubelet's order: folder, `..data`, new links, stale links, old folder."""
        before = self._current()
        folder = self.volume / f"..2026_11_24_13_16_{next(_numbers):010d}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        (self.volume / "..data_tmp").symlink_to(folder.name)
        (self.volume / "..data_tmp").rename(self.volume / "..data")
        shown = {file.name for file in self.volume.iterdir() if not file.name.startswith("..")}
        for name in files.keys() - shown:
            (self.volume / name).symlink_to(Path("..data", name))
        for name in shown - files.keys():
            (self.volume / name).unlink()
        if before is not None:
            shutil.rmtree(before)

    def _current(self) -> Path | None:
        data = self.volume / "..data"
        return self.volume / data.readlink() if data.is_symlink() else None
