"""Mistral's side of keys: list, create, revoke, and whether a secret works.

Everything but a create may be asked twice, and is. A create whose answer was lost may have
had its effect; then OutcomeUnknownError says so, and whoever asked looks for the name.
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
from sidecar.web.exchange import Answer, ExchangeError, Http

MODELS = "/v1/models"

ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 30.0
"""A `Retry-After` beyond this is told to whoever asked, not waited for."""

PAGE_SIZE = 100
MAX_PAGES = 100

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the key is revoked or invalid: regenerate it on La Plateforme",
    HTTPStatus.PAYMENT_REQUIRED: "a spending limit is reached: review per-key usage",
    HTTPStatus.FORBIDDEN: "the key may not do this: use a key with broader scope",
    HTTPStatus.NOT_FOUND: "there is no such path or key; --mistral-shape has another",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the request is not what it takes: see --mistral-shape",
    HTTPStatus.TOO_MANY_REQUESTS: "the workspace's requests per minute are exceeded:"
    " distribute them across workspaces, or wait",
}


class MistralError(Exception):
    """Mistral refused, or did not answer. The text says what to do, and has no secret."""


class OutcomeUnknownError(MistralError):
    """A key may have been created, and nobody knows its secret."""


class Mistral:
    """A client for one organization's keys. Belongs to the running event loop."""

    def __init__(self, settings: MistralSettings, admin_key: Secret) -> None:
        """Speak as the settings say. Raises ValueError for a URL that is not secure."""
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
            answer = await self._ask("GET", self._shape.path, self._auth, params)
            page = read_page(answer.document()) if answer.status == HTTPStatus.OK else None
            if page is None:
                raise _refused("list keys", answer)
            keys, more = page
            new = {key.id: key for key in keys if key.id not in found}
            found |= new
            # Where nobody says whether more follow, a page that adds nothing is the last.
            if more is False or not new:
                return list(found.values())
        raise MistralError(f"list keys: there are more than {MAX_PAGES} pages of them")

    async def create(self, new: NewKey) -> CreatedKey:
        """Create a key. Asked once: raises OutcomeUnknownError, or MistralError if none is."""
        body = json.dumps(self._shape.body(new)).encode()
        try:
            answer = await self._ask("POST", self._shape.path, self._auth, body=body)
        except ExchangeError as error:
            raise OutcomeUnknownError(f"create a key: {error}") from None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OutcomeUnknownError(f"create a key: HTTP status {answer.status}")
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise _refused("create a key", answer)
        created = read_created(answer.document())
        if created is None:
            raise OutcomeUnknownError("create a key: the answer has no id or no secret")
        return created

    async def revoke(self, remote_id: str) -> None:
        """Revoke a key; one that is gone already is revoked. Raises MistralError."""
        path = f"{self._shape.path}/{quote(remote_id, safe='')}"
        answer = await self._ask("DELETE", path, self._auth)
        if answer.status != HTTPStatus.NOT_FOUND and not _good(answer):
            raise _refused("revoke a key", answer)

    async def works(self, secret: Secret) -> bool:
        """Whether Mistral takes the secret now. Raises MistralError when it does not say."""
        answer = await self._ask("GET", MODELS, Auth.BEARER.headers(secret))
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return False
        if answer.status != HTTPStatus.OK:
            raise _refused("list models", answer)
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Ask until there is an answer, or it makes no sense to ask again.

        A POST is asked again only when it had no effect for certain: when it was not sent, or
        was answered with 429. For it alone, ExchangeError is left to the caller.
        """
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        safe, left = method != "POST", ATTEMPTS
        while True:
            left -= 1
            wait = _backoff(ATTEMPTS - left)
            try:
                answer = await self._http.ask(method, path, headers, params, body)
            except ExchangeError as error:
                if error.sent and not safe:
                    raise
                if not left:
                    raise MistralError(f"{self._host} does not answer: {error}") from None
            else:
                if not (_limited(answer) or (safe and _broken(answer))):
                    return answer
                wait = max(wait, _retry_after(answer))
                if not left or wait > MAX_WAIT_SECONDS:
                    return answer
            await asyncio.sleep(wait)


def _good(answer: Answer) -> bool:
    return HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


def _limited(answer: Answer) -> bool:
    return answer.status == HTTPStatus.TOO_MANY_REQUESTS


def _broken(answer: Answer) -> bool:
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _backoff(attempt: int) -> float:
    """Return a wait that doubles, and differs from that of others who failed just now."""
    whole = FIRST_WAIT_SECONDS * (1 << (attempt - 1))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _retry_after(answer: Answer) -> float:
    """Return how many seconds the server asks for; 0 when it does not."""
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _refused(what: str, answer: Answer) -> MistralError:
    """Say what to do about a status. Of the body only a code that is a plain word is shown."""
    document: Any = answer.document()
    said = document.get("type") or document.get("code") if isinstance(document, dict) else None
    word = f" ({said})" if isinstance(said, str) and re.fullmatch(r"[a-z_]{1,40}", said) else ""
    if _good(answer):
        return MistralError(f"{what}: the answer is none that is known; see --mistral-shape")
    advice = _ADVICE.get(answer.status)
    wait = _retry_after(answer)
    after = f"; it asks to wait {wait:.0f} s" if wait else ""
    return MistralError(
        f"{what}: HTTP status {answer.status}{word}: "
        f"{advice or 'Mistral does not do it; try again later'}{after}"
    )
