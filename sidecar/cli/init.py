"""`sidecar init`: writes a small policy set to start from."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import fail
from sidecar.cli.terminal import say

STARTER = Path(__file__).parents[1] / "starter"


def init(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The directory to write to: a new or an empty one."),
    ],
) -> None:
    """Write a small, commented policy set that passes check and test.

    Example: sidecar init my-policies
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise fail(f"{directory}: exists, and is not empty; name another directory", 2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in sorted(STARTER.iterdir()):
            shutil.copyfile(file, directory / file.name)
            say(f"wrote {directory / file.name}")
    except OSError as error:
        raise fail(f"{directory}: {error.strerror}") from None
    say("", f"Next: sidecar check {directory}; sidecar test {directory} --coverage")
