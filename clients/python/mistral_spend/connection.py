"""The connection to the sidecar: a Unix socket or TCP, TLS, and the app's credentials."""

import asyncio
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from mistral_spend.errors import Refused
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

Answer = Any
"""A message of the contract; which one depends on the method."""

_OPTIONS = (
    ("grpc.enable_retries", 0),  # Retry does it, with a timeout for each attempt
    # A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

_NO_CONNECTION = "failed to connect"
"""How gRPC's details begin where there was no connection."""


class SidecarConnection:
    """A gRPC channel, opened again when the files of its certificates have changed."""

    def __init__(
        self,
        address: str,
        ca_file: str | Path | None = None,
        cert_file: str | Path | None = None,
        key_file: str | Path | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        """Open nothing yet. Raises ValueError for an address that needs TLS."""
        if ca_file is None and not is_local(address):
            raise ValueError(f"{address} is not on this host: give ca_file, for TLS")
        self._address = address
        self._files = (ca_file, key_file, cert_file)
        self._token_file = token_file
        self._version: object = None
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        self._closed = False
        self.is_down = False
        """Whether the latest call found no sidecar to connect to."""

    def call(self, method: str, request: object, timeout_seconds: float) -> Answer:
        """Call an RPC once. Raises grpc.RpcError, or Refused if a file cannot be read."""
        rpc = getattr(self._open(), method)
        with self._noting_failures():
            return rpc(request, timeout=timeout_seconds, metadata=self._metadata())

    async def call_async(self, method: str, request: object, timeout_seconds: float) -> Answer:
        """Call an RPC once, from any event loop. Raises what `call` does."""
        start = getattr(self._open(), method).future
        future = start(request, timeout=timeout_seconds, metadata=self._metadata())
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed, and no task waits
                loop.call_soon_threadsafe(answered.set)

        future.add_done_callback(wake)
        try:
            await answered.wait()
        except asyncio.CancelledError:
            future.cancel()
            raise
        with self._noting_failures():
            return future.result()

    @contextmanager
    def _noting_failures(self) -> Iterator[None]:
        """Keep in `is_down` whether the call in this context found no sidecar.

        gRPC's connectivity would need a thread, and none can start while the interpreter ends.
        """
        try:
            yield
        except grpc.RpcError as error:
            # Any other failure may have been decided on its way.
            self.is_down = (error.details() or "").startswith(_NO_CONNECTION)
            raise
        self.is_down = False

    def close(self) -> None:
        """Close the channel; calls in flight end without a response."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()

    def _open(self) -> Any:
        """Return a stub on a channel with the current certificates."""
        if self._closed:
            raise Refused("CLOSED", "the client is closed")
        try:
            version = [Path(file).stat().st_mtime_ns for file in self._files if file]
            if self._stub is None or version != self._version:
                # The old channel lives on until its last call has ended.
                self._channel, self._version = self._new_channel(), version
                self._stub = AuthorizationServiceStub(self._channel)  # type: ignore[no-untyped-call]
        except OSError as error:
            raise Refused("FILE_UNREADABLE", str(error)) from None
        return self._stub

    def _new_channel(self) -> grpc.Channel:
        ca, key, certificate = (Path(file).read_bytes() if file else None for file in self._files)
        if ca is None:
            return grpc.insecure_channel(self._address, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        return grpc.secure_channel(self._address, credentials, options=_OPTIONS)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """Read the token file each time, since Kubernetes replaces it before it expires."""
        if self._token_file is None:
            return ()
        try:
            token = Path(self._token_file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise Refused("FILE_UNREADABLE", type(error).__name__) from None
        return (("authorization", f"Bearer {token}"),)


def is_local(address: str) -> bool:
    """Return whether a gRPC address is on this host."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].removeprefix("dns:").lstrip("/").strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
