"""Names of hosts. No client of HTTP is loaded for them."""

import ipaddress


def on_this_host(host: str) -> bool:
    """Whether a name or address is this host's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
