"""Build hook: writes the commit that a distribution is built from into sidecar/_commit.py.

Only into what is built, never into the work tree, so an editable install has no such file. A
wheel that is built from a source distribution keeps the file of that one.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "sidecar/_commit.py"


class CommitHook(BuildHookInterface[Any]):
    """Adds sidecar/_commit.py, if the root of this project is a Git work tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file; an editable install is no fixed commit, and gets none."""
        if version == "editable" or not (commit := _commit(Path(self.root))):
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sidecar-commit-")
        file = Path(self._folder.name) / "_commit.py"
        file.write_text(f'"""The commit that this was built from."""\n\nCOMMIT = "{commit}"\n')
        build_data["force_include"][str(file)] = PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary file, which is in the distribution by now."""
        del version, build_data, artifact_path
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _commit(root: Path) -> str:
    """Return the commit's full hash, with `-dirty` after it if files differ; else nothing."""
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
