"""Warnings of misspelt environment variables: an ignored SIDECAR_SHARE would mean a full budget."""

import difflib
import os
from collections.abc import Iterator
from typing import Any

PREFIX = "SIDECAR_"


def misspelt(context: Any) -> Iterator[str]:
    """Yield a warning for each variable whose name is close to one that the sidecar reads.

    Other names are ignored: Kubernetes sets some by the name of a service. `context` is that
    of the running command; other commands are loaded only for a variable that it does not read.
    """
    strange = {name for name in os.environ if name.startswith(PREFIX)}
    strange -= set(_variables(context.command))
    known = set(_variables(context.find_root().command)) if strange else set()
    for name in sorted(strange - known):
        for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.9):
            yield f"the variable {name} is not read: did you mean {meant}?"


def _variables(command: Any) -> Iterator[str]:
    for parameter in command.params:
        names = getattr(parameter, "envvar", None) or ()
        yield from (names,) if isinstance(names, str) else names
    for inner in getattr(command, "commands", {}).values():
        yield from _variables(inner)
