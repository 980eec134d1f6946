"""Where the sidecar may be reached: loopback and Unix sockets, nothing else."""

import ipaddress
import socket

MAX_PORT = 65_535


class ListenError(ValueError):
    """An address cannot be listened on; the text says why."""


def check_address(address: str) -> None:
    """Refuse any address that another machine could reach.

    Raises ListenError.
    """
    if address.startswith("unix:"):
        if not address.removeprefix("unix:"):
            raise ListenError("unix: needs a path, as in unix:/run/sidecar/sidecar.sock")
        return
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise ListenError(f"{address}: not HOST:PORT or unix:PATH")
    if ":" in host:
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ListenError(
            f"{address}: not a loopback address; callers are not authenticated, so listen on"
            " 127.0.0.1:PORT, [::1]:PORT or unix:PATH"
        )


def refuse_socket_in_use(address: str) -> None:
    """Refuse a Unix socket that somebody answers on: gRPC would take its place.

    A socket file that a killed process left behind is nobody's.
    """
    if not address.startswith("unix:"):
        return
    path = address.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(path)
        except OSError:
            return
    raise ListenError(f"{address}: another process listens there")
