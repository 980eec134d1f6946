"""The webhook channel: signed posts to the configured URL, delivered only by a 2xx."""

import asyncio
import base64
import json
import socket
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from support.alerts import alert
from support.receiver import SECRET, Receiver, receiver, signed

from sidecar.alerts.channel import NotDeliveredError
from sidecar.alerts.webhook import WebhookChannel, read_secret, signature
from sidecar.web.client import DaemonThreadExecutor

PRIVATE = ("hunter2", "s3cr3t", SECRET)


@pytest.fixture
def posted() -> Iterator[Receiver]:
    """A receiver that accepts everything."""
    with receiver() as server:
        yield server


def deliver(url: str, timeout_seconds: float = 5, secret: str = SECRET) -> str:
    """Post one alert; return why it was not delivered, "" if it was."""

    async def once() -> None:
        channel = WebhookChannel(url, secret.encode(), timeout_seconds)
        try:
            await channel.deliver(alert())
        finally:
            await channel.close()

    try:
        asyncio.run(once())
    except NotDeliveredError as error:
        trace = "".join(traceback.format_exception(error))
    else:
        return ""
    assert not [word for word in PRIVATE if word in trace]
    return trace.rpartition("NotDeliveredError: ")[2].strip()


def test_an_alert_is_posted_as_json_and_signed(posted: Receiver) -> None:
    """The body has every fact; the signature covers it and the time."""
    assert deliver(posted.url) == ""
    ((path, headers, body),) = posted.requests
    assert (path, headers["Content-Type"]) == ("/s3cr3t-path?k=s3cr3t-key", "application/json")
    assert headers["Sidecar-Alert-Id"] == "alert_1"
    assert signed(headers, body)
    assert not signed(headers, body.replace(b"80", b"81"))
    assert json.loads(body) == {
        "text": "monthly has reached 80 % of $10.00 for lab: $7.00 spent, $1.00 held,"
        " until 2026-11-11 13:00 UTC",
        "alert_id": "alert_1", "kind": "threshold", "raised_at": "2026-11-11T12:00:00Z",
        "rule": "monthly", "scope": "lab", "meter": "cost", "window": "hour",
        "window_start": "2026-11-11T12:00:00Z", "window_end": "2026-11-11T13:00:00Z",
        "percent": 80, "ceiling": 10_000_000_000, "spent": 7_000_000_000, "held": 1_000_000_000,
        "usual": None, "shadow": False, "instance": "", "share": "", "undivided_ceiling": None,
        "replaced_by": "", "others": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("secret", "receivers"),
    [
        (SECRET, SECRET.encode()),
        (SECRET, "whsec_" + base64.b64encode(SECRET.encode()).decode()),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ],
    ids=["as it is", "in base64", "whsec_"],
)
def test_a_library_for_standard_webhooks_verifies_an_alert(
    secret: str, receivers: str | bytes, posted: Receiver
) -> None:
    """It returns the body; an altered body is refused."""
    assert deliver(posted.url, secret=secret) == ""
    ((_, headers, body),) = posted.requests
    webhook = Webhook(receivers)
    assert webhook.verify(body, headers)["alert_id"] == headers["webhook-id"] == "alert_1"
    later = str(int(headers["webhook-timestamp"]) + 1)
    for changes in ({"webhook-id": "alert_2"}, {"webhook-timestamp": later}):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            webhook.verify(body, headers | changes)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        webhook.verify(body.replace(b"80", b"81"), headers)


def test_a_signature_is_what_openssl_says() -> None:
    """As in printf '1.{}' | openssl dgst -sha256 -hmac key."""
    expected = "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    assert signature(b"key", 1, b"{}") == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (200, ""), (201, ""), (299, ""),
        (301, "HTTP status 301"), (307, "HTTP status 307"), (400, "HTTP status 400"),
        (500, "HTTP status 500"), ("close", "no response: RemoteProtocolError"),
        ("hang", "no response in 0.2 s"),
    ],
)  # fmt: skip
def test_only_2xx_is_a_delivery(answer: int | str, expected: str, posted: Receiver) -> None:
    """Redirects are not followed, and a receiver that hangs is a failure."""
    posted.answer = answer
    assert deliver(posted.url, 0.2 if answer == "hang" else 5) == expected
    assert len(posted.requests) == 1


def test_a_response_without_end_is_a_delivery(posted: Receiver) -> None:
    """Of a response only the status is read."""
    posted.answer = "drip"
    assert deliver(posted.url) == ""


def test_a_refused_connection_is_no_delivery(posted: Receiver) -> None:
    """The error says so, and does not show the URL."""
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        url = posted.url.replace(str(posted.server_address[1]), str(bound.getsockname()[1]))
        assert deliver(url) == "no response: ConnectError"


@pytest.mark.parametrize(
    "url",
    [
        "http://hunter2.example.com/", "ftp://127.0.0.1/", "https://", "hunter2", "",
        "http://127.0.0.1.example.com/", "http://hunter2:x/", "//127.0.0.1/",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    """Plain HTTP is only for this host; the error shows no part of the URL."""
    with pytest.raises(ValueError, match=r"must begin with https://|is not a URL") as caught:
        WebhookChannel(url, SECRET.encode())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.com/x", "http://[::1]:9/", "http://localhost/"])
def test_https_and_loopback_are_accepted(url: str) -> None:
    """HTTPS may go to any host."""
    asyncio.run(WebhookChannel(url, SECRET.encode()).close())


def test_a_secret_is_a_whole_file(tmp_path: Path) -> None:
    """Without the final line feed of editors; a short or missing secret is an error."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert SECRET.encode() == read_secret(file)
    file.write_text("hunter2\n")
    with pytest.raises(ValueError, match="at least 16 bytes") as caught:
        read_secret(file)
    assert "hunter2" not in str(caught.value)
    file.write_text("whsec_hunter2*hunter2*hunter2\n")
    with pytest.raises(ValueError, match="the part after whsec_ is not base64") as caught:
        read_secret(file)
    assert "hunter2" not in str(caught.value)
    file.write_text("whsec_aHVudGVyMg==\n")  # seven bytes
    with pytest.raises(ValueError, match="at least 16 bytes"):
        read_secret(file)
    with pytest.raises(ValueError, match="No such file"):
        read_secret(tmp_path / "none")


def test_a_hanging_dns_lookup_does_not_delay_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's lookup cannot be cancelled, so its thread is left behind."""
    requested, answered = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> None:
        requested.set()
        answered.wait()

    async def give_up() -> None:
        asyncio.get_running_loop().set_default_executor(DaemonThreadExecutor())
        channel = WebhookChannel("https://receiver.example.com", SECRET.encode())
        delivering = asyncio.create_task(channel.deliver(alert()))
        await asyncio.to_thread(requested.wait)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        await channel.close()

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asyncio.run(give_up())  # which waits for what it does not leave behind
    assert not answered.is_set()
    answered.set()
