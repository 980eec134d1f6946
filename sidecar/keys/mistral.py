"""The client of Mistral's API for keys: list, create, revoke, and test a secret.

All requests but a create are retried. A create whose response was lost may have had its
effect: then it raises OutcomeUnknownError, and the caller looks for the key by its name.
"""

import asyncio
import email.utils
import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from sidecar.keys.api_variants import (
    API_VARIANTS,
    Auth,
    CreatedKey,
    MistralSettings,
    NewKey,
    RemoteKey,
    read_created,
    read_page,
)
from sidecar.keys.secret import Secret
from sidecar.web.client import NoResponseError
from sidecar.web.exchange import Http, HttpResponse

MODELS = "/v1/models"

ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 30.0
"""A longer `Retry-After` is not waited for, but reported as an error."""

PAGE_SIZE = 100
MAX_PAGES = 100

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the key is revoked or invalid: regenerate it on La Plateforme",
    HTTPStatus.PAYMENT_REQUIRED: "a spending limit is reached: review per-key usage",
    HTTPStatus.FORBIDDEN: "the key may not do this: use a key with broader scope",
    HTTPStatus.NOT_FOUND: "no such path or key: try another --mistral-shape",
    HTTPStatus.UNPROCESSABLE_ENTITY: "it does not accept the request: try another --mistral-shape",
    HTTPStatus.TOO_MANY_REQUESTS: "the workspace's requests per minute are exceeded:"
    " distribute them across workspaces, or wait",
}


class MistralError(Exception):
    """Mistral refused a request, or did not respond. The text says what to do, without secrets."""


class OutcomeUnknownError(MistralError):
    """A key may have been created, and its secret is lost: the rotation has to revoke it."""


class Mistral:
    """A client for one organization's keys. Belongs to the running event loop."""

    def __init__(self, settings: MistralSettings, admin_key: Secret) -> None:
        """Use the settings and the admin key. Raises ValueError for a URL that is not secure."""
        self._http = Http(settings.url, settings.timeout_seconds)
        self._host = urlsplit(settings.url).hostname
        self._auth = settings.auth.headers(admin_key)
        shape = API_VARIANTS[settings.shape]
        self._shape = replace(shape, path=settings.path or shape.path)

    async def keys(self) -> list[RemoteKey]:
        """Return every key of the organization. Raises MistralError."""
        found: dict[str, RemoteKey] = {}
        for number in range(MAX_PAGES):
            params = {"page": str(number), "page_size": str(PAGE_SIZE)}
            response = await self._send("GET", self._shape.path, self._auth, params)
            page = read_page(response.document()) if response.status == HTTPStatus.OK else None
            if page is None:
                raise _refused("list keys", response)
            keys, more = page
            new = {key.id: key for key in keys if key.id not in found}
            found |= new
            # If the response does not say whether more follow, a page without new keys is the last.
            if more is False or not new:
                return list(found.values())
        raise MistralError(f"list keys: there are more than {MAX_PAGES} pages")

    async def create(self, new: NewKey) -> CreatedKey:
        """Create a key, without retries. Raises OutcomeUnknownError, or MistralError if refused."""
        body = json.dumps(self._shape.body(new)).encode()
        try:
            response = await self._send("POST", self._shape.path, self._auth, body=body)
        except NoResponseError as error:
            raise OutcomeUnknownError(f"create a key: {error}") from None
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OutcomeUnknownError(f"create a key: HTTP status {response.status}")
        if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise _refused("create a key", response)
        created = read_created(response.document())
        if created is None:
            raise OutcomeUnknownError("create a key: the response has no id or no secret")
        return created

    async def revoke(self, remote_id: str) -> None:
        """Revoke a key; one that does not exist counts as revoked. Raises MistralError."""
        path = f"{self._shape.path}/{quote(remote_id, safe='')}"
        response = await self._send("DELETE", path, self._auth)
        if response.status != HTTPStatus.NOT_FOUND and not _good(response):
            raise _refused("revoke a key", response)

    async def works(self, secret: Secret) -> bool:
        """Whether Mistral accepts the secret now. Raises MistralError when that stays unknown."""
        response = await self._send("GET", MODELS, Auth.BEARER.headers(secret))
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return False
        if response.status != HTTPStatus.OK:
            raise _refused("list models", response)
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Send a request, with retries; return the response.

        A POST is retried only when it certainly had no effect: it was not sent, or the status
        was 429. Otherwise it raises NoResponseError, as no other method does.
        """
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        safe, left = method != "POST", ATTEMPTS
        while True:
            left -= 1
            wait = _backoff(ATTEMPTS - left)
            try:
                response = await self._http.send(method, path, headers, params, body)
            except NoResponseError as error:
                if error.sent and not safe:
                    raise
                if not left:
                    raise MistralError(f"{self._host} does not respond: {error}") from None
            else:
                if not (_limited(response) or (safe and _broken(response))):
                    return response
                wait = max(wait, _retry_after(response))
                if not left or wait > MAX_WAIT_SECONDS:
                    return response
            await asyncio.sleep(wait)


def _good(response: HttpResponse) -> bool:
    return HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES


def _limited(response: HttpResponse) -> bool:
    return response.status == HTTPStatus.TOO_MANY_REQUESTS


def _broken(response: HttpResponse) -> bool:
    return response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _backoff(attempt: int) -> float:
    """Return a delay in seconds that doubles with each attempt, with jitter."""
    whole = FIRST_WAIT_SECONDS * (1 << (attempt - 1))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _retry_after(response: HttpResponse) -> float:
    """Return the seconds of `Retry-After`; 0 without it."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _refused(what: str, response: HttpResponse) -> MistralError:
    """Return an error that says what to do. Of the body it shows only a code that is a word."""
    document: Any = response.document()
    code = document.get("type") or document.get("code") if isinstance(document, dict) else None
    word = f" ({code})" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""
    if _good(response):
        return MistralError(f"{what}: unknown form of response: try another --mistral-shape")
    advice = _ADVICE.get(response.status)
    wait = _retry_after(response)
    after = f"; it asks to wait {wait:.0f} s" if wait else ""
    return MistralError(
        f"{what}: HTTP status {response.status}{word}: "
        f"{advice or 'Mistral refuses it: try again later'}{after}"
    )
