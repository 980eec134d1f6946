"""`sidecar --version`: the version, and the commit that the distribution was built from."""

from importlib import import_module

import sidecar


def version_line() -> str:
    """Return `sidecar VERSION (commit HASH)`; from source, the commit is unknown."""
    return f"sidecar {sidecar.__version__} ({_commit()})"


def _commit() -> str:
    try:
        return f"commit {import_module('sidecar._commit').COMMIT}"  # hatch_build.py writes it
    except ModuleNotFoundError:
        return "unknown commit"
