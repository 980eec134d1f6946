"""The HTTP client of one server: returns responses of any status, bounded in time and size."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

from sidecar.web.client import NoResponseError, checked
from sidecar.web.hosts import on_this_host

MAX_RESPONSE_BYTES = 4 * 2**20
"""The longest response that is read; a page of keys has a few hundred bytes for each."""

TIMEOUT_SECONDS = 20.0

# Nothing of the request was sent when one of these is raised.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class HttpResponse(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the body's JSON, None if it is not JSON, or nests too deeply."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Http:
    """Sends requests to one server. Belongs to the running event loop."""

    def __init__(
        self,
        base_url: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        """Use a base URL that is https, or http on this host. Raises ValueError for others."""
        self._base = str(checked(base_url)).rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._client = httpx2.AsyncClient(
            follow_redirects=False,  # a redirect would send the credential elsewhere
            timeout=None,  # each exchange has one timeout as a whole
            trust_env=not on_this_host(httpx2.URL(base_url).host),
            verify=certificates or True,
        )

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Send a request, without retries. Raises NoResponseError."""
        # A compressed response could expand to any length.
        all_headers = {"Accept-Encoding": "identity", "Accept": "application/json", **headers}
        request = self._client.stream(
            method, self._base + path, headers=all_headers, params=params, content=body
        )
        try:
            async with asyncio.timeout(self._timeout_seconds), request as response:
                content = await _bounded(response)
                return HttpResponse(response.status_code, response.headers, content)
        except TimeoutError:
            why = f"no response in {self._timeout_seconds:g} s"
            raise NoResponseError(why) from None
        except (httpx2.HTTPError, OSError) as error:  # the text may contain the URL
            why, sent = f"no response: {type(error).__name__}", not isinstance(error, _NOT_SENT)
            raise NoResponseError(why, sent=sent) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _bounded(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_RESPONSE_BYTES:
            raise NoResponseError("the response is too long")
    return bytes(content)
