"""A stand-in for Mistral's API for keys, in both variants, with faults that tests inject.

A real HTTP server. It hides new keys as an eventually consistent service does, loses answers
after their effect, and counts at every moment how many keys live.
"""

import json
import secrets
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADMIN_KEY = "stand-in-admin-key-b7f3"
PATHS = {"/v1/admin/api-keys": "workspace_uuid", "/v1/api-keys": "workspace_id"}


@dataclass
class Key:
    """A key at Mistral, with its secret, which only the create response has."""

    id: str
    name: str
    secret: str
    fields: dict[str, Any]
    created_at: datetime
    last_used_at: datetime | None = None
    live: bool = True
    hidden_lists: int = 0
    """Lists that do not show it yet."""
    refused_uses: int = 0
    """Uses that are refused yet."""


@dataclass
class Fault:
    """A fault at the requests number `at` of one kind, counted from 1.

    `how` is a status, or "reset" (before the effect), "lost" (after it), "hang" (before it,
    until the client gives up), "late" (after it), "huge", "nonsense" or "deep".
    """

    kind: str
    how: int | str
    at: range = range(1, 2)
    headers: dict[str, str] = field(default_factory=dict)


class MistralAdmin(ThreadingHTTPServer):
    """Lists, creates and revokes keys, and lists models for callers with a live one."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on loopback, without any key."""
        self.keys: dict[str, Key] = {}
        self.faults: list[Fault] = []
        self.seen: Counter[str] = Counter()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.most_live = 0
        self.page_size, self.says_more = 100, True
        self.hidden_lists = self.refused_uses = 0
        self.tells_uses = True
        self.when: Callable[[str, str, int], None] = lambda *_: None
        """Is told of each request: its kind, "before" or "after" its effect, and its number."""
        self.changed: Callable[[], None] = lambda: None
        """Is called when keys have changed, before the response."""
        self.lock = threading.RLock()
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def live(self) -> list[Key]:
        """The keys that are not revoked, hidden ones included."""
        with self.lock:
            return [key for key in self.keys.values() if key.live]

    @property
    def secrets(self) -> list[str]:
        """Every secret that ever existed, with the admin key."""
        return [ADMIN_KEY, *(key.secret for key in self.keys.values())]

    def has(self, name: str, **fields: Any) -> Key:
        """Create a key that is visible at once, as an admin does in the console."""
        defaults = {"workspace_id": "ws_dev_1", "workspace_uuid": "ws_dev_1", "user_id": "u_1"}
        with self.lock:
            return self.make(name, {**defaults, **fields})

    def make(self, name: str, fields: dict[str, Any]) -> Key:
        """Create a key."""
        number = len(self.keys) + 1
        key = Key(f"key_{number}", name, f"s3cr3t{secrets.token_hex(13)}", fields, _now())
        self.keys[key.id] = key
        self.most_live = max(self.most_live, len(self.live))
        self.changed()
        return key

    def revoke(self, key: Key) -> None:
        """Revoke a key."""
        key.live = False
        self.changed()

    def by_secret(self, secret: str) -> Key | None:
        """Return the live key with this secret."""
        return next((key for key in self.live if key.secret == secret), None)


class _Handler(BaseHTTPRequestHandler):
    server: MistralAdmin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List keys or models."""
        path = urlsplit(self.path).path
        if path == "/v1/models":
            self._answer("models", self._models)
        elif path in PATHS:
            self._answer("list", self._list)
        else:
            self._send(404, {"object": "error", "message": "no such path"})

    def do_POST(self) -> None:
        """Create a key."""
        self._body = self.rfile.read(int(self.headers["Content-Length"]))
        if urlsplit(self.path).path in PATHS:
            self._answer("create", self._create)
        else:
            self._send(404, {"object": "error", "message": "no such path"})

    def do_DELETE(self) -> None:
        """Revoke a key."""
        self._answer("revoke", self._revoke)

    def _answer(self, kind: str, act: Callable[[], tuple[int, Any]]) -> None:
        server = self.server
        with server.lock:
            server.seen[kind] += 1
            number = server.seen[kind]
            server.requests.append((self.command, self.path, dict(self.headers)))
            fault = next((f for f in server.faults if f.kind == kind and number in f.at), None)
        how = fault.how if fault else ""
        server.when(kind, "before", number)
        if how == "reset":
            self._reset()
        elif how == "hang":
            server.released.wait(30)
            self.close_connection = True
        elif isinstance(how, int):
            self._send(
                how,
                {"object": "error", "type": "made_up", "message": ADMIN_KEY},
                fault.headers if fault else {},
            )
        else:
            with server.lock:
                status, document = act()
            server.when(kind, "after", number)
            self._after(how, status, document)

    def _after(self, how: str, status: int, document: Any) -> None:
        match how:
            case "lost":
                self._reset()
            case "late":
                self.server.released.wait(30)
                self.close_connection = True
            case "huge":
                self._send(status, {"data": "x" * 5_000_000})
            case "deep":
                self._send(status, b"[" * 200_000)
            case "nonsense":
                self._send(status, {"object": "what is this?"})
            case _:
                self._send(status, document)

    def _is_admin(self) -> bool:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return ADMIN_KEY in (bearer, self.headers.get("x-api-key"))

    def _list(self) -> tuple[int, Any]:
        if not self._is_admin():
            return 401, {"detail": "Unauthorized"}
        server, query = self.server, parse_qs(urlsplit(self.path).query)
        shown = []
        for key in server.live:
            if key.hidden_lists:
                key.hidden_lists -= 1
            else:
                shown.append(key)
        number = int(query.get("page", ["0"])[0])
        size = min(server.page_size, int(query.get("page_size", ["20"])[0]))
        start = number * size
        document: dict[str, Any] = {"object": "list"}
        document["data"] = [self._shown(key) for key in shown[start : start + size]]
        if server.says_more:
            document["has_more"] = start + size < len(shown)
        return 200, document

    def _shown(self, key: Key) -> dict[str, Any]:
        used = key.last_used_at if self.server.tells_uses else None
        return {
            "id": key.id, "name": key.name, "created_at": _iso(key.created_at),
            "last_used_at": used and _iso(used), **key.fields,
        }  # fmt: skip

    def _create(self) -> tuple[int, Any]:
        if not self._is_admin():
            return 401, {"detail": "Unauthorized"}
        fields = json.loads(self._body)
        needed = {"name", PATHS[urlsplit(self.path).path]}
        if "admin" in self.path:
            needed.add("user_id")
        if not needed <= fields.keys():
            return 422, {"object": "error", "message": {"detail": "missing"}}
        key = self.server.make(fields.pop("name"), fields)
        key.hidden_lists, key.refused_uses = self.server.hidden_lists, self.server.refused_uses
        return 201, {**self._shown(key), "api_key": key.secret}

    def _revoke(self) -> tuple[int, Any]:
        if not self._is_admin():
            return 401, {"detail": "Unauthorized"}
        key = self.server.keys.get(self.path.rpartition("/")[2])
        if key is None or not key.live:
            return 404, {"object": "error", "message": "no such key"}
        self.server.revoke(key)
        return 204, None

    def _models(self) -> tuple[int, Any]:
        key = self.server.by_secret(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if key is None:
            return 401, {"detail": "Unauthorized"}
        if key.refused_uses:
            key.refused_uses -= 1
            return 401, {"detail": "Unauthorized"}
        key.last_used_at = _now()
        return 200, {"object": "list", "data": [{"id": "mistral-small-latest"}]}

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        if document is None:
            content = b""
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _reset(self) -> None:
        """Close the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore a client that disconnects."""
        with suppress(ConnectionError, ValueError, OSError):
            super().handle()

    def finish(self) -> None:
        """Ignore a client that had disconnected before."""
        with suppress(ConnectionError, ValueError, OSError):
            super().finish()


def _now() -> datetime:
    return datetime.now(UTC)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@contextmanager
def mistral_admin() -> Iterator[MistralAdmin]:
    """Serve on a free port of loopback."""
    server = MistralAdmin()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
