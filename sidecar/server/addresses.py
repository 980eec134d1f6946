"""Listen addresses: loopback and Unix sockets, others only with authentication."""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_PORT = 65_535
MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""What the kernel's address of a Unix socket has room for."""

_UNIX = "unix:"


class ListenError(ValueError):
    """The sidecar cannot listen on an address; the text says why. Its caller adds the flag."""


def check_address(address: str, *, proven: bool = False, by_certificate: bool = False) -> None:
    """Raise ListenError for a malformed address, or one beyond loopback.

    With `proven` (callers are authenticated), any host is allowed.
    """
    if by_certificate and is_unix(address):
        raise ListenError(f"{address}: --identity mtls needs HOST:PORT; a Unix socket has no TLS")
    if is_unix(address):
        if not address.removeprefix(_UNIX):
            raise ListenError("unix: needs a path, as in unix:/run/sidecar/sidecar.sock")
        if set(address) & set("%?#"):  # gRPC parses the path as a URL
            raise ListenError(f"{address}: the path of a socket must not have %, ? or # in it")
        if (length := len(os.fsencode(socket_path(address)))) > MAX_SOCKET_PATH_BYTES:
            raise ListenError(
                f"{address}: the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes, and"
                f" this one has {length}"
            )
        return
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise ListenError(f"{address}: not HOST:PORT or unix:PATH")
    if ":" in host:
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not (proven and host):
        raise ListenError(
            f"{address}: not a loopback address; callers are not authenticated there, so listen"
            " on 127.0.0.1:PORT, [::1]:PORT or unix:PATH, or have them prove who they are:"
            " --identity mtls, or --identity token with --tls-cert and --tls-key"
        )


def is_unix(address: str) -> bool:
    """Whether an address is that of a Unix socket."""
    return address.startswith(_UNIX)


def socket_path(address: str) -> Path:
    """Return the file of a Unix socket."""
    return Path(address.removeprefix(_UNIX))


@contextmanager
def created_with(mode: int) -> Iterator[None]:
    """Limit the permissions of files created in this context to `mode`, by the umask."""
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def refuse_socket_in_use(address: str) -> None:
    """Raise ListenError if a process listens on a Unix socket; gRPC would replace it.

    A socket file that a killed process left behind is not in use.
    """
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(str(socket_path(address)))
        except OSError:
            return
    raise ListenError(f"{address}: another process listens there")
