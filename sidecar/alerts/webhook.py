"""Alerts by HTTP, signed."""

import hashlib
import hmac
import json
import time
from pathlib import Path

from sidecar.alerts.channel import NotDeliveredError
from sidecar.domain.alerts import Alert
from sidecar.web.client import Client, NoAnswerError

TIMEOUT_SECONDS = 10.0
SECRET_BYTES_AT_LEAST = 16


class WebhookChannel:
    """POSTs each alert as JSON to one URL."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Post to the URL, signed with the secret.

        Raises ValueError for a URL that is neither https nor on this host. It says nothing
        of the rest of the URL, which may be a secret itself.
        """
        self._secret = secret
        self._client = Client(url, timeout_seconds)

    async def deliver(self, alert: Alert) -> None:
        """Post it. Only an answer of 2xx is a delivery. Raises NotDeliveredError."""
        body = json.dumps(alert.document(), separators=(",", ":"), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Sidecar-Alert-Id": alert.alert_id,
            "Sidecar-Signature": signature(self._secret, int(time.time()), body),
        }
        try:
            await self._client.post(body, headers)
        except NoAnswerError as error:
            raise NotDeliveredError(str(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


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
