"""What errors of PostgreSQL mean, in words of our own.

Its own texts are never passed on: they may quote a host, a row or a password.
"""

import os
import ssl
from pathlib import Path
from socket import gaierror
from traceback import extract_tb

import asyncpg

from sidecar.fleet.protocol import FleetUnreachableError

_INIT = "its tables are missing or older: run `sidecar fleet init`"
_RIGHTS = "its role lacks rights: run `sidecar fleet init --grant-to ROLE`"
_LOGIN = "the user or the password is wrong, or the server does not let it in from here"
_AWAY = "the server is starting or stopping"
_READ_ONLY = "the server is read-only: it is a replica, or its disk is nearly full"

_TEXTS = {
    "08P01": "the pooler or the server refused the connection",
    "22021": "the database's encoding is not UTF8",
    "25006": _READ_ONLY,
    "25P03": "this process stood still in the middle of an exchange",
    "28000": _LOGIN,
    "28P01": _LOGIN,
    "3D000": "there is no such database",
    "42501": _RIGHTS,
    "42703": _INIT,
    "42P01": _INIT,
    "53100": "the server's disk is full",
    "53200": "the server has no memory left",
    "53300": "the server has too many connections",
    "55P03": "another transaction holds the same budgets for too long",
    "57014": "the server took too long",
    "57P01": _AWAY,
    "57P02": _AWAY,
    "57P03": _AWAY,
}
"""By SQLSTATE: postgresql.org/docs/current/errcodes-appendix.html."""


def unreachable(error: Exception, deadline_seconds: float) -> FleetUnreachableError:
    """Return an error of an exchange or a connection as the one that callers know."""
    match error:
        case TimeoutError():
            text = f"no answer within {deadline_seconds:g} s"
        case asyncpg.PostgresError():
            text = _postgres_text(error.sqlstate or "")
        case ssl.SSLCertVerificationError():
            text = "the server's certificate is not valid for its host, or its CA is unknown"
        case ssl.SSLError():
            text = "TLS with the server fails"
        case ConnectionRefusedError():
            text = "connection refused"
        case FileNotFoundError():
            text = "connection refused: there is no such socket"
        case gaierror():
            text = "the server's name cannot be resolved"
        case OSError():
            text = "no connection" + (f": {os.strerror(error.errno)}" if error.errno else "")
        case _:
            text = f"an unexpected {type(error).__name__}{_place(error)}"
    return FleetUnreachableError(text)


def _place(error: Exception) -> str:
    """Return where an error was raised: it is a fault of ours or of the driver."""
    frames = extract_tb(error.__traceback__)
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _postgres_text(state: str) -> str:
    if state.startswith("08") and state not in _TEXTS:
        return "the connection was lost"
    return _TEXTS.get(state, f"PostgreSQL's error {state}")
