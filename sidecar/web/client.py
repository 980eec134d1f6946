"""HTTP to one place that was configured: bounded in time and in size, and never by surprise.

No error says more of the place than its status: a URL may hold a secret.
"""

import asyncio
import ipaddress
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

# It would log every URL.
logging.getLogger("httpx2").setLevel(logging.WARNING)

P = ParamSpec("P")
T = TypeVar("T")


class NoAnswerError(Exception):
    """There was no answer that is of use. The text says why, and nothing of the URL."""


class Client:
    """One URL: https anywhere, or http on this host. Redirects are not followed."""

    def __init__(self, url: str, timeout_seconds: float, ca_file: Path | None = None) -> None:
        """Trust the CA file instead of the system's, where one is given.

        Raises ValueError, which says nothing of the rest of the URL.
        """
        self._url = checked(url)
        self._timeout_seconds = timeout_seconds
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=None,  # each exchange has one for all of it
            trust_env=not on_this_host(self._url.host),
            verify=True if ca_file is None else ssl.create_default_context(cafile=str(ca_file)),
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body. Only an answer of 2xx is one. Raises NoAnswerError."""
        async with self._exchange("POST", body, headers):
            pass  # what else it says is of no interest

    async def get(self, bytes_at_most: int, headers: Mapping[str, str]) -> bytes:
        """Return the body of an answer of 2xx. Raises NoAnswerError."""
        body = bytearray()
        async with self._exchange("GET", None, headers) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > bytes_at_most:
                    raise NoAnswerError(f"an answer of more than {bytes_at_most} bytes")
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
                    raise NoAnswerError(f"HTTP status {status}")
                yield response
        except TimeoutError:
            raise NoAnswerError(f"no answer in {self._timeout_seconds:g} s") from None
        except (httpx2.HTTPError, OSError) as error:  # whose text may have the URL
            raise NoAnswerError(f"no answer: {type(error).__name__}") from None


def checked(text: str) -> httpx2.URL:
    """Read a URL that is https, or http on this host. Raises ValueError, without the URL."""
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
