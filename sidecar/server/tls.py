"""TLS with certificates that are read again when their files change."""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import grpc

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Between two looks at the files, however many connections are opened."""


class Content(Protocol):
    """What is in the files at one moment: PEM."""

    @property
    def certificate(self) -> bytes:
        """The certificate and its chain."""

    @property
    def key(self) -> bytes:
        """The private key."""

    @property
    def client_ca(self) -> bytes | None:
        """Who signs the certificates of clients; None where they have none."""


class Credentials:
    """The server's credentials: those of the newest files that go together."""

    def __init__(
        self, read: Callable[[], Content], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read for the first time. Raises what `read` raises: ValueError, which names a file."""
        self._read = read
        self._clock = clock
        self._content = read()
        self._looked_at = clock()
        self._problem = ""

    def grpc(self) -> grpc.ServerCredentials:
        """Return the credentials. With a client CA, every connection needs a certificate."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._content),
            self._newer,
            require_client_authentication=self._content.client_ca is not None,
        )

    def _newer(self) -> Any:
        """Return what is newer than the last time, None for nothing.

        gRPC asks for each connection, in a thread of its own. A file is read rather than
        looked at, for it may change within the time that a file system can tell.
        """
        if self._clock() - self._looked_at < CHECK_SECONDS:
            return None
        self._looked_at = self._clock()
        try:
            content = self._read()
        except ValueError as error:
            if str(error) != self._problem:
                log.error("TLS goes on with the files it had: %s", error)  # noqa: TRY400
            self._problem = str(error)
            return None
        self._problem = ""
        if content == self._content:
            return None
        self._content = content
        log.info("TLS: the certificate or the client CA was changed, and is used from now on")
        return _configuration(content)


def _configuration(content: Content) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(content.key, content.certificate)], content.client_ca
    )
