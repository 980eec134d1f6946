"""The tour of docs/keys.md, run in a folder of its own, against a stand-in for Mistral."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.mistral_admin import ADMIN_KEY, mistral_admin
from support.policies import shipped

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"
SETTINGS = ("export ", "(umask ")


def tour() -> tuple[list[str], list[str]]:
    """Return what the tour sets up, and its commands."""
    text = PAGE.read_text()
    section = text[text.index("## A tour\n") :].partition("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    settings = [line for line in lines if line.startswith(SETTINGS)]
    return settings, [line for line in lines if line not in settings]


def run(folder: Path, url: str) -> Iterator[tuple[str, subprocess.CompletedProcess[str]]]:
    """Run the commands one after the other; give each with what it printed."""
    (folder / "admin.key").write_text(ADMIN_KEY)
    shipped(folder / "policies")
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIDECAR_MISTRAL_URL": url, "SIDECAR_PROPAGATION_SECONDS": "0",
        "SIDECAR_LOOK_SECONDS": "0.02", "COLUMNS": "120",
    }  # fmt: skip
    settings, commands = tour()
    exports = [line for line in settings if line.startswith("export")]
    once = [line for line in settings if line not in exports]
    for command in commands:
        yield (
            command,
            subprocess.run(  # noqa: S603 - our own document
                ["/bin/sh", "-c", "\n".join([*once, *exports, command])],
                cwd=folder, env=environment, capture_output=True, text=True, check=False,
            ),
        )  # fmt: skip
        once = []


def main() -> None:
    """Show each command with what it prints."""
    with tempfile.TemporaryDirectory() as folder, mistral_admin() as server:
        for command, done in run(Path(folder), server.url):
            failed = f"[exit code {done.returncode}]\n" if done.returncode else ""
            sys.stdout.write(f"\n$ {command}\n{done.stderr}{done.stdout}{failed}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
