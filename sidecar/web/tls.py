"""The TLS context of HttpServer, renewed when its files change."""

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""The least time between two checks of the files."""


class NewestContext:
    """The context of the newest valid certificate and key."""

    def __init__(
        self, read: Callable[[], object], certificate: Path, key: Path, client_ca: Path | None
    ) -> None:
        """Read the files; with a client CA, every client needs a certificate.

        `read` returns their content, or raises ValueError, as this does.
        """
        self._read = read
        self._files = (certificate, key, client_ca)
        self._content = read()
        self._context = _context(*self._files)
        self._looked_at = time.monotonic()

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        if time.monotonic() - self._looked_at >= CHECK_SECONDS:
            self._looked_at = time.monotonic()
            try:
                content = self._read()
                if content != self._content:
                    self._context, self._content = _context(*self._files), content
            except ValueError:  # the gRPC listener logs what is wrong
                log.debug("TLS keeps the previous certificate")
        return self._context


def _context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Load the files. Raises ValueError if they have changed since they were read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{certificate}: cannot be used: {error.strerror}") from None
    return context
