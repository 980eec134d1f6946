"""Where the sidecar may send anything: https anywhere, or http on this host."""

import ipaddress
import logging

import httpx2

# It would log every URL.
logging.getLogger("httpx2").setLevel(logging.WARNING)


def checked(text: str) -> httpx2.URL:
    """Read a URL that is https, or http on this host.

    Raises ValueError, which says nothing of the URL: it may be a secret itself.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise ValueError("is no URL") from None
    if url.host and (url.scheme == "https" or (url.scheme == "http" and on_this_host(url.host))):
        return url
    raise ValueError("has to begin with https://, or with http:// and a loopback address")


def on_this_host(host: str) -> bool:
    """Whether a name or address is this host's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
