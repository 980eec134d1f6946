"""Sidecars that are measured: of this checkout, or of another commit."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.policies import deny
from support.tools import ROOT, require

from bench.servers import Server

CEILINGS = {
    "workspaces.yaml": ("requests_per_minute", "monthly_budget_usd"),
    "roles.yaml": ("daily_token_budget",),
}
HOLD_TTL_SECONDS = "86400"
"""So long that no hold ends by itself while calls are measured."""

ROOM = 100_000_000
"""A ceiling above the load, in requests, USD and thousands of tokens."""


class RevisionError(Exception):
    """No commit has this name; the text says so."""


class Sidecar(Server):
    """A sidecar with the shipped rules on a ledger of its own."""

    def __init__(
        self,
        name: str,
        folder: Path,
        more_rules: int = 0,
        ledger: Path | None = None,
        args: Sequence[str] = (),
        root: Path = ROOT,
        policies: Path | None = None,
        starts: int | None = None,
    ) -> None:
        """Start it, with more rules that read the request. Raises StartError.

        Its code is that of the checkout in `root`. The default ledger is ledger.sqlite in the
        folder, the default policies are the shipped ones with room.
        """
        folder = folder.resolve()
        folder.mkdir(exist_ok=True)
        policies = policies or roomy(folder / "policies")
        for number in range(more_rules):
            rule = deny(f"request.tokens > {10**9 + number} && request.batch")
            (policies / f"more-{number}.cel").write_text(rule)
        self.ledger = (ledger or folder / "ledger.sqlite").resolve()
        command = [
            sys.executable, "-m", "sidecar", "serve", "--policies", str(policies),
            "--ledger", str(self.ledger), "--listen", "127.0.0.1:0",
            "--hold-ttl", HOLD_TTL_SECONDS, *args,
        ]  # fmt: skip
        super().__init__(name, command, root=root, starts=starts)


def roomy(directory: Path, root: Path = ROOT) -> Path:
    """Return a checkout's shipped policies, with ceilings above the load."""
    shutil.copytree(root / "policies", directory)
    for file, names in CEILINGS.items():
        text = (directory / file).read_text()
        for name in names:
            room = ROOM * 1000 if "token" in name else ROOM
            text, replaced = re.subn(rf"\b{name}: \S+", f"{name}: {room}", text)
            assert replaced, f"{file} has no {name}"
        (directory / file).write_text(text)
    hourly = directory / "hourly-spending-guard.cel"
    header, _, _ = hourly.read_text().rstrip().rpartition("\n")
    hourly.write_text(f"{header}\n{ROOM}.0\n")
    return directory


def checkout(revision: str, folder: Path) -> Path:
    """Write the files of a commit to a new folder. Raises RevisionError or MissingError."""
    git = [require("git"), "-C", str(ROOT)]
    found = subprocess.run(  # noqa: S603 - git takes what follows --end-of-options as a name
        [*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        raise RevisionError(f"no commit is named {revision!r} here")
    archive = folder.with_suffix(".zip")
    subprocess.run(  # noqa: S603 - the name is a hash
        [*git, "archive", "--format=zip", f"--output={archive.resolve()}", found.stdout.strip()],
        check=True,
    )  # fmt: skip
    shutil.unpack_archive(archive, folder)
    archive.unlink()
    return folder.resolve()
