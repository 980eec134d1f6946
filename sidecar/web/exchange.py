"""One HTTP exchange below one URL, bounded in time and size, whatever its status."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

from sidecar.web.client import checked, on_this_host

ANSWER_BYTES = 4 * 2**20
"""The longest answer that is read; a page of keys has some hundred bytes for each."""

TIMEOUT_SECONDS = 20.0

# Nothing of the request has left when one of these is raised.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class ExchangeError(Exception):
    """There was no whole answer. The text is for people, and has no part of any URL."""

    def __init__(self, why: str, *, sent: bool) -> None:
        """Say why, and whether the request may have had its effect."""
        super().__init__(why)
        self.sent = sent


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the body's JSON, None for what is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Http:
    """Asks one server. Belongs to the running event loop."""

    def __init__(
        self,
        base_url: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        """Ask below a URL that is https, or http on this host. Raises ValueError for others."""
        self._base = str(checked(base_url)).rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._client = httpx2.AsyncClient(
            follow_redirects=False,  # a redirect would take the credential elsewhere
            timeout=None,  # ask has one for all of it
            trust_env=not on_this_host(httpx2.URL(base_url).host),
            verify=certificates or True,
        )

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request, once. Raises ExchangeError."""
        # Compressed, a short answer could be of any length.
        asked = {"Accept-Encoding": "identity", "Accept": "application/json", **headers}
        request = self._client.stream(
            method, self._base + path, headers=asked, params=params, content=body
        )
        try:
            async with asyncio.timeout(self._timeout_seconds), request as response:
                content = await _bounded(response)
                return Answer(response.status_code, response.headers, content)
        except TimeoutError:
            why = f"no answer in {self._timeout_seconds:g} s"
            raise ExchangeError(why, sent=True) from None
        except (httpx2.HTTPError, OSError) as error:  # whose text may have the URL
            why, sent = f"no answer: {type(error).__name__}", not isinstance(error, _NOT_SENT)
            raise ExchangeError(why, sent=sent) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _bounded(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > ANSWER_BYTES:
            raise ExchangeError("the answer is too long", sent=True)
    return bytes(content)
