"""Alerts by HTTP, signed."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx2

from sidecar.alerts.channel import NotDeliveredError
from sidecar.domain.alerts import Alert

TIMEOUT_SECONDS = 10.0
SECRET_BYTES_AT_LEAST = 16

P = ParamSpec("P")
T = TypeVar("T")


class WebhookChannel:
    """POSTs each alert as JSON to one URL."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Post to the URL, signed with the secret.

        Raises ValueError for a URL that is neither https nor on this host. It says nothing
        of the rest of the URL, which may be a secret itself.
        """
        self._url = _checked(url)
        self._secret = secret
        self._timeout_seconds = timeout_seconds
        # It would log every URL.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=None,  # deliver has one for all of it
            trust_env=not _on_this_host(self._url.host),
        )

    async def deliver(self, alert: Alert) -> None:
        """Post it. Only an answer of 2xx is a delivery. Raises NotDeliveredError."""
        body = json.dumps(alert.document(), separators=(",", ":"), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Sidecar-Alert-Id": alert.alert_id,
            "Sidecar-Signature": signature(self._secret, int(time.time()), body),
        }
        request = self._client.stream("POST", self._url, content=body, headers=headers)
        try:
            async with asyncio.timeout(self._timeout_seconds), request as response:
                status = response.status_code  # what else it says is of no interest
        except TimeoutError:
            raise NotDeliveredError(f"no answer in {self._timeout_seconds:g} s") from None
        except (httpx2.HTTPError, OSError) as error:  # whose text may have the URL
            raise NotDeliveredError(f"no answer: {type(error).__name__}") from None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise NotDeliveredError(f"HTTP status {status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def signature(secret: bytes, at_seconds: int, body: bytes) -> str:
    """Return what Sidecar-Signature says of a body that is sent at this time."""
    signed = hmac.new(secret, b"%d." % at_seconds + body, hashlib.sha256)
    return f"t={at_seconds},v1={signed.hexdigest()}"


def read_secret(path: Path) -> bytes:
    """Read the secret for signatures: all of the file, without the white space around it.

    Raises ValueError, which says nothing of what is in the file.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if len(secret) < SECRET_BYTES_AT_LEAST:
        raise ValueError(
            f"{path}: a secret has at least {SECRET_BYTES_AT_LEAST} bytes;"
            " `openssl rand -hex 32` makes one"
        )
    return secret


def _checked(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise ValueError("is no URL") from None
    if url.host and (url.scheme == "https" or (url.scheme == "http" and _on_this_host(url.host))):
        return url
    raise ValueError("has to begin with https://, or with http:// and a loopback address")


def _on_this_host(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ThreadsLeftBehind(ThreadPoolExecutor):
    """Runs each job in a thread that the process does not wait for at its end.

    The system's look-up of a name cannot be cancelled, and takes minutes where no server
    of names answers. As the loop's default executor, it may take them without anybody.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start at once."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # it is the caller's, whatever it is
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=work, name="look-up", daemon=True).start()
        return future
