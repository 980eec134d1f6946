"""The URL of the books, read from a file at each connection, so that its password may change.

No error quotes any part of it.
"""

import contextlib
import logging
import ssl
import stat
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sidecar.domain.texts import printable
from sidecar.fleet.protocol import FleetRefusedError, FleetUnreachableError
from sidecar.web.hosts import on_this_host

log = logging.getLogger(__name__)

EXAMPLE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full"
_NO_URL = f"is not a URL such as {EXAMPLE}; in a password, write @ : / ? # and % as %40, %3A, …"

_PLAIN = {"", "disable", "allow", "prefer"}
"""The modes in which a connection may be without TLS."""
_KNOWN = {"host", "sslmode", "sslrootcert", "sslcert", "sslkey"}


def connection_settings(file: Path) -> dict[str, Any]:
    """Return what a file's URL says, as keywords of asyncpg's connect.

    All of them are given, since what is missing would be taken from the environment or from files
    of the home folder. Raises FleetUnreachableError for a file that cannot be read,
    FleetRefusedError for a URL that is not taken.
    """
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise FleetUnreachableError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FleetRefusedError(f"{file}: is not text") from None
    try:
        return _settings(text)
    except ValueError as error:
        raise FleetRefusedError(f"{file}: {error}") from None


def warn_of_readers(file: Path) -> None:
    """Warn if all users of the host can read a file. It is used: Kubernetes mounts so."""
    with contextlib.suppress(OSError):
        if file.stat().st_mode & stat.S_IROTH:
            log.warning(
                "%s: every user of this host can read the URL, and its password: chmod 600, or in"
                " Kubernetes defaultMode: 0400",
                printable(str(file)),
            )


def _settings(text: str) -> dict[str, Any]:
    """Return what a URL says. Raises ValueError, without any part of it."""
    url, options = _parsed(text)
    host = options.get("host") or _host(url)
    if not host or "," in host:
        raise ValueError(f"must name one host, as in {EXAMPLE}")
    mode = options.get("sslmode", "")
    if mode == "verify-full":
        tls = _tls(options)
    elif mode not in _PLAIN:
        raise ValueError("sslmode must be verify-full: the others trust any server")
    elif not (host.startswith("/") or on_this_host(host)):
        raise ValueError(
            "a server on another host needs ?sslmode=verify-full, with &sslrootcert=FILE if the"
            " system does not know its CA"
        )
    else:
        tls = None
    user = unquote(url.username or "")
    return {
        "host": host,
        "port": url.port or 5432,
        "user": user,
        "password": unquote(url.password or ""),
        "database": unquote(url.path.removeprefix("/")) or user,
        "ssl": False if tls is None else tls,
    }


def _parsed(text: str) -> tuple[SplitResult, dict[str, str]]:
    """Return a URL, and its parameters. Raises ValueError, without any part of it."""
    try:
        url = urlsplit(text)
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        is_url = url.scheme in {"postgresql", "postgres"} and url.port != 0
    except ValueError:  # as where a password has a / in it
        raise ValueError(_NO_URL) from None
    if not is_url or not url.username or url.fragment:
        raise ValueError(_NO_URL)
    if not options.keys() <= _KNOWN:
        raise ValueError(
            f"takes no parameters but {', '.join(sorted(_KNOWN))}: poolers refuse others"
        )
    return url, options


def _host(url: SplitResult) -> str:
    return unquote(url.hostname or "")


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    """Return the TLS of a connection, which trusts the system's CAs or the given file's."""
    try:
        tls = ssl.create_default_context(cafile=options.get("sslrootcert"))
        if "sslcert" in options:
            tls.load_cert_chain(options["sslcert"], options.get("sslkey"))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"its certificates cannot be used: {error.strerror}") from None
    return tls
