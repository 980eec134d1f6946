"""The HTTP client of one configured URL, bounded in time and size.

Errors never quote the URL, which may contain a secret.
"""

import asyncio
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx2

from sidecar.web.hosts import on_this_host

# At INFO it logs every URL.
logging.getLogger("httpx2").setLevel(logging.WARNING)

P = ParamSpec("P")
T = TypeVar("T")


class NoResponseError(Exception):
    """There was no usable response. The text says why, without the URL."""

    def __init__(self, why: str, *, sent: bool = True) -> None:
        """With `sent`, the request may have had its effect."""
        super().__init__(why)
        self.sent = sent


class Client:
    """One URL: https anywhere, or http on this host. Redirects are not followed."""

    def __init__(self, url: str, timeout_seconds: float, ca_file: Path | None = None) -> None:
        """Trust the CA file, if given, instead of the system's certificates.

        Raises ValueError, without quoting the URL.
        """
        self._url = checked(url)
        self._timeout_seconds = timeout_seconds
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=None,  # each exchange has one timeout as a whole
            trust_env=not on_this_host(self._url.host),
            verify=True if ca_file is None else ssl.create_default_context(cafile=str(ca_file)),
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body. Raises NoResponseError without a 2xx response."""
        async with self._exchange("POST", body, headers):
            pass  # the response's body is not read

    async def get(self, max_bytes: int, headers: Mapping[str, str]) -> bytes:
        """Return the body of a 2xx response. Raises NoResponseError."""
        body = bytearray()
        async with self._exchange("GET", None, headers) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > max_bytes:
                    raise NoResponseError(f"a response of more than {max_bytes} bytes")
        return bytes(body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _exchange(
        self, method: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        request = self._client.stream(method, self._url, content=body, headers=dict(headers))
        try:
            async with asyncio.timeout(self._timeout_seconds), request as response:
                status = response.status_code
                if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                    raise NoResponseError(f"HTTP status {status}")
                yield response
        except TimeoutError:
            raise NoResponseError(f"no response in {self._timeout_seconds:g} s") from None
        except (httpx2.HTTPError, OSError) as error:  # the text may contain the URL
            raise NoResponseError(f"no response: {type(error).__name__}") from None


def checked(text: str) -> httpx2.URL:
    """Parse a URL that is https, or http on this host. Raises ValueError, without the URL."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise ValueError("is not a URL") from None
    if url.host and (url.scheme == "https" or (url.scheme == "http" and on_this_host(url.host))):
        return url
    raise ValueError("must begin with https://, or with http:// and a loopback address")


class DaemonThreadExecutor(ThreadPoolExecutor):
    """An executor with a daemon thread for each job: the process ends without waiting for them.

    The system's DNS lookup cannot be cancelled, and takes minutes when no server responds.
    As the loop's default executor, this keeps such a lookup from delaying the shutdown.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the job at once, in a thread of its own."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # passed on to the caller
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=work, name="look-up", daemon=True).start()
        return future
