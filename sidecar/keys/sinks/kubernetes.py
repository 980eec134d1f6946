"""The sink that is a Kubernetes Secret, which pods mount or read from their environment."""

import base64
import json
import ssl
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from sidecar.keys.secret import Secret, read_secret
from sidecar.keys.settings import KubernetesSettings
from sidecar.keys.sinks.sink import SinkError
from sidecar.web.client import NoResponseError
from sidecar.web.exchange import Http, HttpResponse

KEY_ID, API_KEY = "key-id", "api-key"
PREVIOUS_KEY_ID, PREVIOUS_API_KEY = "previous-key-id", "previous-api-key"

MAX_CONFLICTS = 5
"""Attempts to change the Secret while other writers change it, too."""

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the service account's token is not accepted",
    HTTPStatus.FORBIDDEN: "the service account needs the verbs get and patch on this Secret",
    HTTPStatus.NOT_FOUND: "there is no such Secret; `kubectl create secret generic` makes one",
    HTTPStatus.CONFLICT: "another writer keeps changing this Secret",
}


class KubernetesSink:
    """The entries `api-key` and `key-id` (KEY#VERSION) of one Secret.

    Until the previous key is revoked, `previous-api-key` and `previous-key-id` have it. A change
    names the resource version that was read, so no other writer's change is lost.
    """

    def __init__(self, namespace: str, name: str, settings: KubernetesSettings) -> None:
        """Use this Secret. Raises ValueError when the CA file cannot be used."""
        certificates = None
        if settings.url.startswith("https:"):
            try:
                certificates = ssl.create_default_context(cafile=settings.ca_file)
            except (OSError, ssl.SSLError):
                raise ValueError(f"{settings.ca_file}: has no certificates in PEM") from None
        self._http = Http(settings.url, certificates=certificates)
        self._path = f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}"
        self._what = f"secret {namespace}/{name}"
        self._token_file = settings.token_file

    async def holds(self) -> str:
        """See Sink.holds."""
        data, _ = await self._get()
        return _digest(data.get(API_KEY, ""))

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """See Sink.store."""

        def change(data: dict[str, str]) -> dict[str, str | None]:
            if _digest(data.get(API_KEY, "")) == secret.digest:
                return {}  # it was stored before a crash
            return {
                PREVIOUS_API_KEY: data.get(API_KEY),
                PREVIOUS_KEY_ID: data.get(KEY_ID),
                API_KEY: _encoded(secret.reveal()),
                KEY_ID: _encoded(f"{key_id}#{version}"),
            }

        await self._change(change)

    async def restore(self) -> None:
        """See Sink.restore."""

        def change(data: dict[str, str]) -> dict[str, str | None]:
            if not data.get(PREVIOUS_API_KEY):
                raise SinkError(f"{self._what}: has no {PREVIOUS_API_KEY}; the old secret is gone")
            return {API_KEY: data[PREVIOUS_API_KEY], KEY_ID: data.get(PREVIOUS_KEY_ID)}

        await self._change(change)

    async def forget(self) -> None:
        """See Sink.forget."""
        await self._change(
            lambda data: dict.fromkeys({PREVIOUS_API_KEY, PREVIOUS_KEY_ID} & data.keys())
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _change(self, change: Any) -> None:
        """Apply `change` to the entries as they are now; None in its result removes an entry."""
        for _ in range(MAX_CONFLICTS):
            data, resource_version = await self._get()
            if not (changes := change(data)):
                return
            patch = {"metadata": {"resourceVersion": resource_version}, "data": changes}
            response = await self._send("PATCH", json.dumps(patch).encode())
            if response.status == HTTPStatus.OK:
                return
            if response.status != HTTPStatus.CONFLICT:
                raise self._refused(response)
        raise self._refused(response)

    async def _get(self) -> tuple[dict[str, str], str]:
        response = await self._send("GET")
        if response.status != HTTPStatus.OK:
            raise self._refused(response)
        document: Any = response.document()
        try:
            return dict(document.get("data") or {}), str(document["metadata"]["resourceVersion"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise SinkError(f"{self._what}: the response is not a Secret") from None

    async def _send(self, method: str, body: bytes | None = None) -> HttpResponse:
        try:
            token = read_secret(self._token_file)  # read each time, as the kubelet renews it
        except ValueError as error:
            raise SinkError(str(error)) from None
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            return await self._http.send(method, self._path, headers, body=body)
        except NoResponseError as error:
            raise SinkError(f"{self._what}: {error}") from None

    def _refused(self, response: HttpResponse) -> SinkError:
        advice = _ADVICE.get(response.status, "try again later")
        return SinkError(f"{self._what}: HTTP status {response.status}: {advice}")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _digest(encoded: str) -> str:
    try:
        return Secret(base64.b64decode(encoded).decode("ascii", "replace").strip()).digest
    except ValueError:
        return ""
