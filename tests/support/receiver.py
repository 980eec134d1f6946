"""An HTTP server that receives alerts, or fails."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "correct horse battery staple"  # noqa: S105 - a test's
CREDENTIALS = "user:hunter2"


class Receiver(ThreadingHTTPServer):
    """Records what it receives. `answer` is a status, or "close", "hang" or "drip"."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        """Listen on loopback, and accept everything."""
        self.answer: int | str = 204
        self.released = threading.Event()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Its URL, with a password and a secret path."""
        return f"http://{CREDENTIALS}@127.0.0.1:{self.server_address[1]}/s3cr3t-path?k=s3cr3t-key"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The bodies of the posts with valid signatures, in order."""
        return [json.loads(body) for _, headers, body in self.requests if signed(headers, body)]


def signed(headers: dict[str, str], body: bytes) -> bool:
    """Check both signatures as documented, without the sidecar's code."""
    parts = dict(part.split("=", 1) for part in headers["Sidecar-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + body, hashlib.sha256)
    try:
        Webhook(SECRET.encode()).verify(body, headers)
    except WebhookVerificationError:
        return False
    return hmac.compare_digest(expected.hexdigest(), parts["v1"])


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Record the post, and respond as `answer` says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        match self.server.answer:
            case "close":
                self.close_connection = True
            case "hang":
                self.server.released.wait(60)
            case "drip":
                self.send_response(200)
                self.end_headers()
                while not self.server.released.wait(0.05):
                    self.wfile.write(b".")
            case status:
                self.send_response(int(status))
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

    do_GET = do_POST  # noqa: N815 - a client that followed a redirect would call this

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore a client that disconnects."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """Run a receiver on a port of loopback."""
    server = Receiver(port)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
