"""Ends connections of gRPC's listeners: silent ones where there is no room, and those that flood.

gRPC lists and closes no connection, so that is done by way of the kernel. Linux alone has what
it takes, /proc; elsewhere no connection is found, and none is ended.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import socket
import struct
import sys
import termios
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from sidecar.server.addresses import is_unix, socket_path

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SILENT_SECONDS = 3.0
"""A connection whose peer has been silent for this time makes room for another."""

MAX_CANCELLED_CALLS = 100
"""In a second: calls that are taken back before their request is whole. For each more of these, the
connection with most of them is ended."""

MIN_CANCELLED_CALLS = 10
"""In a second, of a connection that is ended."""

_DESCRIPTORS = Path("/proc/self/fd")
_LAST_RECEIVED_AT = 52
"""Where Linux's struct tcp_info has tcpi_last_data_recv, the milliseconds since then."""

Listener = int | str
"""The port, or the path of a Unix socket."""


class _Connection(NamedTuple):
    """A connection that was accepted, with a descriptor of our own."""

    socket: socket.socket
    listener: Listener
    peer: tuple[str, int] | None
    """Address and port; None on a Unix socket, where peers have no name."""

    def end(self) -> None:
        """End it in both directions; gRPC notices, and closes its descriptor."""
        with contextlib.suppress(OSError):  # it has ended already
            self.socket.shutdown(socket.SHUT_RDWR)

    def silent_seconds(self) -> float:
        """Return for how long the peer has sent nothing: infinite on a Unix socket, unknown."""
        if self.peer is None:
            return float("inf")
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED_AT + 4)
        return float(struct.unpack_from("=I", info, _LAST_RECEIVED_AT)[0]) / 1000

    def unread_bytes(self) -> int:
        """Return what the peer has sent and gRPC has not read."""
        return int.from_bytes(fcntl.ioctl(self.socket, termios.FIONREAD, bytes(4)), sys.byteorder)

    def age_order(self) -> int:
        """Return a number that is lower for older sockets."""
        return os.fstat(self.socket.fileno()).st_ino


class Connections:
    """Watches the listeners of a server.

    gRPC refuses new connections where old ones do nothing. And none of its limits counts calls
    that are begun and taken back at once, though each costs as much as others.
    """

    def __init__(self, max_connections: int) -> None:
        """Watch listeners of at most so many connections each, and one that waits for room."""
        self._max_connections = max_connections
        self._listeners = frozenset[Listener]()
        self._watch: asyncio.Task[None] | None = None
        self._cancelled_calls = Counter[str]()
        self._counted_since_seconds = 0.0

    def start(self, addresses: Sequence[str]) -> None:
        """Watch the listeners on these addresses."""
        self._listeners = frozenset(
            str(socket_path(address)) if is_unix(address) else int(address.rpartition(":")[2])
            for address in addresses
        )
        self._watch = asyncio.create_task(self._make_room_regularly())

    def stop(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.cancel()

    def call_cancelled(self, peer: str) -> None:
        """Count a call of a peer, as gRPC names it, that was taken back with its request unread."""
        now_seconds = time.monotonic()
        if now_seconds >= self._counted_since_seconds + 1:
            self._counted_since_seconds = now_seconds
            self._cancelled_calls.clear()
        self._cancelled_calls[peer] += 1
        if self._cancelled_calls.total() % MAX_CANCELLED_CALLS == 0:
            self._end_worst()

    def _end_worst(self) -> None:
        """End the connection that has taken back the most calls in this second.

        For gRPC, all peers of Unix sockets have one name: the one that sends faster than it is
        read is ended.
        """
        with _accepted(self._listeners) as connections:
            for peer, calls in self._cancelled_calls.most_common():
                address = _address(peer)
                named = [connection for connection in connections if connection.peer == address]
                worst = max(named, key=_Connection.unread_bytes, default=None)
                if worst and calls >= MIN_CANCELLED_CALLS and (address or worst.unread_bytes()):
                    worst.end()
                    log.warning("%s was disconnected: it takes back the calls it begins", peer)
                    return

    async def _make_room_regularly(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._make_room()

    def _make_room(self) -> None:
        """End the most silent connection of each listener that has too many."""
        with _accepted(self._listeners) as connections:
            by_listener = defaultdict[Listener, list[_Connection]](list)
            for connection in connections:
                by_listener[connection.listener].append(connection)
            for full in by_listener.values():
                if len(full) <= self._max_connections:
                    continue
                silent_seconds, _, most_silent = max(
                    (each.silent_seconds(), -each.age_order(), each) for each in full
                )
                if silent_seconds >= SILENT_SECONDS:
                    most_silent.end()


@contextlib.contextmanager
def _accepted(listeners: frozenset[Listener]) -> Iterator[list[_Connection]]:
    """Yield this process's connections that these listeners have accepted."""
    with contextlib.ExitStack() as opened:
        found = []
        for link in _DESCRIPTORS.glob("*"):
            with contextlib.suppress(OSError):  # closed meanwhile, or no connection
                if connection := _connection(link, listeners, opened):
                    found.append(connection)
        yield found


def _connection(
    link: Path, listeners: frozenset[Listener], opened: contextlib.ExitStack
) -> _Connection | None:
    """Return a descriptor's connection, opened once more. Raises OSError for any other file."""
    if not str(link.readlink()).startswith("socket:"):
        return None
    # gRPC may close its descriptor at any time, and another file then have the number.
    own = opened.enter_context(socket.socket(fileno=os.dup(int(link.name))))
    here, peer = own.getsockname(), own.getpeername()
    if own.family == socket.AF_UNIX:
        return _Connection(own, here, None) if here in listeners else None
    return _Connection(own, here[1], (_plain(peer[0]), peer[1])) if here[1] in listeners else None


def _address(peer: str) -> tuple[str, int] | None:
    """Return the address and port of gRPC's text for a peer, such as ipv6:%5B::1%5D:40000."""
    family, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if family not in {"ipv4", "ipv6"}:
        return None
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    """Return an IP address in one form: an IPv4 address is never written as an IPv6 one."""
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
