"""A stand-in for the part of Kubernetes' API that a Secret needs, over TLS."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

TOKEN = "service-account-token-c4d1"  # noqa: S105 - a test's
SECRET_PATH = "/api/v1/namespaces/apps/secrets/mistral"  # noqa: S105 - a path


class KubernetesApi(ThreadingHTTPServer):
    """Has one Secret, and accepts a patch only for its current version."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        """Listen on loopback, with a certificate and its key in one file."""
        self.data: dict[str, str] = {"other": _encode("untouched")}
        self.resource_version = 7
        self.status = 200
        """What every request is answered with, if it is not this."""
        self.lost = 0
        """Answers that are lost after their effect."""
        self.meanwhile: list[Callable[[], None]] = []
        """What others do between our reading and our patch, one each time."""
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"https://127.0.0.1:{self.server_address[1]}"

    @property
    def entries(self) -> dict[str, str]:
        """The entries that pods see."""
        return {name: base64.b64decode(value).decode() for name, value in self.data.items()}

    def put(self, **entries: str) -> None:
        """Change entries, as another client would."""
        self.data |= {name.replace("_", "-"): _encode(text) for name, text in entries.items()}
        self.resource_version += 1


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesApi

    def do_GET(self) -> None:
        """Return the Secret."""
        if self._is_refused():
            return
        self._send(200, self._document())
        if self.server.meanwhile:
            self.server.meanwhile.pop(0)()

    def do_PATCH(self) -> None:
        """Merge a patch, if no other client has changed the Secret."""
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_refused():
            return
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        if patch["metadata"]["resourceVersion"] != str(self.server.resource_version):
            self._send(409, {"reason": "Conflict"})
            return
        for name, value in patch["data"].items():
            if value is None:
                self.server.data.pop(name, None)
            else:
                self.server.data[name] = value
        self.server.resource_version += 1
        if self.server.lost:
            self.server.lost -= 1
            return
        self._send(200, self._document())

    def _is_refused(self) -> bool:
        status = self.server.status
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 401
        elif self.path != SECRET_PATH:
            status = 404
        if status != 200:
            self._send(status, {"message": TOKEN})
        return status != 200

    def _document(self) -> dict[str, Any]:
        version = str(self.server.resource_version)
        return {"metadata": {"resourceVersion": version}, "data": dict(self.server.data)}

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return the file of a CA, and that of a certificate for loopback with its key."""
    authority, certificate = folder / "ca.crt", folder / "tls.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(authority))
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return authority, certificate


@contextmanager
def kubernetes_api(certificate: Path) -> Iterator[KubernetesApi]:
    """Serve on a free port of loopback."""
    server = KubernetesApi(certificate)
    # A client that does not trust it breaks off in the middle.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        with suppress(OSError):
            server.shutdown()
            server.server_close()
