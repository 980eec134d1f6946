"""TLS credentials of the gRPC server, reloaded when their files change."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import grpc

log = logging.getLogger(__name__)

EXPIRY_CHECK_SECONDS = 10.0
"""The time between two looks at when the newest certificates end."""

WARN_DAYS = (7.0, 1.0, 0.0)
"""How many days before a certificate or a client CA ends the log warns, once each."""

CHECK_SECONDS = 1.0
"""The minimum time between two reads of the files, for any number of connections."""


class Content(Protocol):
    """The files' content at one time, in PEM."""

    @property
    def certificate(self) -> bytes:
        """The certificate and its chain."""

    @property
    def key(self) -> bytes:
        """The private key."""

    @property
    def client_ca(self) -> bytes | None:
        """The CA of client certificates; None if clients need none."""

    @property
    def expires_at(self) -> float:
        """When the certificate ends, in seconds since the epoch."""

    @property
    def client_cas_expire_at(self) -> Sequence[float]:
        """When each client CA ends, the earliest first; empty if clients need no certificate."""


class Credentials:
    """The server's credentials, from the newest files that match each other."""

    def __init__(
        self, read: Callable[[], Content], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the files. Raises ValueError, which names the file, as `read` does."""
        self._read = read
        self._clock = clock
        self._content = read()
        self._read_at = clock()
        self._problem = ""
        self._newest, self._newest_at = self._content, clock()
        self._warned: set[tuple[str, float, float]] = set()

    def left_seconds(self) -> float:
        """Return how long the newest certificate is valid: new connections will get it."""
        return self._look().expires_at - time.time()

    def client_ca_left_seconds(self) -> float | None:
        """Return how long the first client CA that ends is valid; None without one."""
        expire_at = self._look().client_cas_expire_at
        return expire_at[0] - time.time() if expire_at else None

    def problem(self) -> str:
        """Return why no new connection is trusted; empty before a certificate ends.

        With several client CAs, it is the end of the last one. The log gets a warning some days
        before the end of each, and when it has come.
        """
        content = self._look()
        self._warn(content)
        now = time.time()
        if content.expires_at <= now:
            return f"the certificate of --tls-cert has ended at {_time(content.expires_at)}"
        if content.client_cas_expire_at and content.client_cas_expire_at[-1] <= now:
            return f"the client CA has ended at {_time(content.client_cas_expire_at[-1])}"
        return ""

    def _look(self) -> Content:
        """Return the newest files, as of at most EXPIRY_CHECK_SECONDS ago."""
        if self._clock() - self._newest_at >= EXPIRY_CHECK_SECONDS:
            self._newest_at = self._clock()
            try:
                self._newest = self._read()
            except ValueError:  # logged when a connection would get it
                self._newest = self._content
        return self._newest

    def _warn(self, content: Content) -> None:
        """Log each certificate that is about to end, once for each of WARN_DAYS."""
        all_of_it = [("the certificate", content.expires_at)]
        all_of_it += [("a client CA", at) for at in content.client_cas_expire_at]
        passed = set()
        for what, expires_at in all_of_it:
            days = [days for days in WARN_DAYS if expires_at - time.time() <= days * 86_400]
            if days:
                passed.add((what, expires_at, min(days)))
        for what, expires_at, _ in sorted(passed - self._warned):
            log.warning("TLS: %s ends at %s; replace it", what, _time(expires_at))
        self._warned = passed

    def grpc(self) -> grpc.ServerCredentials:
        """Return gRPC's credentials. With a client CA, every connection needs a certificate."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._content),
            self._changed,
            require_client_authentication=self._content.client_ca is not None,
        )

    def _changed(self) -> Any:
        """Return the new configuration, None if nothing changed.

        gRPC calls this for each connection, in a thread of its own. The files are compared
        by content: they may change within the resolution of a modification time.
        """
        if self._clock() - self._read_at < CHECK_SECONDS:
            return None
        self._read_at = self._clock()
        try:
            content = self._read()
        except ValueError as error:
            if str(error) != self._problem:
                log.error("TLS: the new files are invalid, so the old ones stay in use: %s", error)  # noqa: TRY400
            self._problem = str(error)
            return None
        self._problem = ""
        if content == self._content:
            return None
        self._content = content
        log.info("TLS: a new certificate or client CA is in use")
        return _configuration(content)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _configuration(content: Content) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(content.key, content.certificate)], content.client_ca
    )
