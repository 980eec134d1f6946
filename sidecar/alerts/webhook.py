"""The webhook channel: alerts by HTTP POST, signed as in Standard Webhooks.

The older headers Sidecar-Alert-Id and Sidecar-Signature are sent, too.
"""

import base64
import binascii
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from sidecar.alerts.channel import NotDeliveredError
from sidecar.domain.alerts import Alert
from sidecar.web.client import Client, NoResponseError

TIMEOUT_SECONDS = 10.0
MIN_SECRET_BYTES = 16
STANDARD_PREFIX = b"whsec_"
"""The prefix of a Standard Webhooks secret; base64 follows."""


class WebhookChannel:
    """POSTs each alert as JSON to one URL."""

    name = "webhook"

    def __init__(self, url: str, secret: bytes, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Post to the URL, signed with the secret.

        Raises ValueError for a URL that is neither https nor on this host, without quoting the
        URL, which may contain a secret.
        """
        self._secret = secret
        self._standard = Webhook(standard_key(secret))
        self._client = Client(url, timeout_seconds)

    async def deliver(self, alert: Alert, others: int = 0) -> None:
        """Post the alert. Raises NotDeliveredError without a 2xx response."""
        body = json.dumps(
            alert.document(others), separators=(",", ":"), ensure_ascii=False
        ).encode()
        at = datetime.now(UTC).replace(microsecond=0)
        at_seconds = int(at.timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": alert.alert_id,
            "webhook-timestamp": str(at_seconds),
            "webhook-signature": self._standard.sign(alert.alert_id, at, body.decode()),
            # The older headers, until the next major version.
            "Sidecar-Alert-Id": alert.alert_id,
            "Sidecar-Signature": signature(self._secret, at_seconds, body),
        }
        try:
            await self._client.post(body, headers)
        except NoResponseError as error:
            raise NotDeliveredError(str(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def signature(secret: bytes, at_seconds: int, body: bytes) -> str:
    """Return the value of Sidecar-Signature for a body sent at this time."""
    signed = hmac.new(secret, b"%d." % at_seconds + body, hashlib.sha256)
    return f"t={at_seconds},v1={signed.hexdigest()}"


def standard_key(secret: bytes) -> bytes:
    """Return the key of `webhook-signature`: the secret, or the decoded part after `whsec_`.

    Raises ValueError, whose text has nothing of the secret.
    """
    if not secret.startswith(STANDARD_PREFIX):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("the part after whsec_ is not base64") from None


def read_secret(path: Path) -> bytes:
    """Read the secret of signatures: the file's content without surrounding white space.

    Raises ValueError, whose text has nothing of the content.
    """
    try:
        secret = path.read_bytes().strip()
        key = standard_key(secret)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(
            f"{path}: a secret must have at least {MIN_SECRET_BYTES} bytes;"
            " `openssl rand -hex 32` makes one"
        )
    return secret
