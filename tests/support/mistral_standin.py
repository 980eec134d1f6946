"""A stand-in for Mistral's API: a real HTTP server, with made-up text and real usage objects.

A prompt may request a fault: [status 429], [hang], [no usage], [half a usage], [broken],
[served by MODEL].
`GET /received` has the bodies of all requests, in order.
"""

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "stand-in-key"
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "on"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, padding_bytes: int) -> None:
        self.padding = " " * padding_bytes
        self.received: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer chat (whole or streamed), FIM, embeddings and OCR."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = json.loads(text)
        self.server.received.append(body)
        if "[hang]" in text:
            time.sleep(20)
        if found := re.search(r"\[status (\d+)\]", text):
            self._send(int(found[1]), {"object": "error", "message": "as asked for"})
        elif self.headers.get("Authorization") != f"Bearer {API_KEY}":
            self._send(401, {"detail": "Unauthorized"})
        elif self.path in ("/v1/chat/completions", "/v1/fim/completions"):
            self._complete(body)
        elif self.path == "/v1/embeddings":
            self._embed(body)
        elif self.path == "/v1/ocr":
            usage = {"pages_processed": 3, "doc_size_bytes": 1024}
            self._send(200, {"pages": [], "model": body["model"], "usage_info": usage})
        else:
            self._send(404, {"object": "error", "message": "no such path", "code": "404"})

    def do_GET(self) -> None:
        """Return the models, or the received bodies."""
        if self.path == "/received":
            self._send(200, {"received": self.server.received})
            return
        self._send(200, {"object": "list", "data": [{"id": "mistral-small-latest"}]})

    def _complete(self, body: dict[str, Any]) -> None:
        text = body.get("prompt") or " ".join(str(m.get("content")) for m in body["messages"])
        prompt_tokens = len(text.encode()) // 4 + 4
        words = WORDS[: min(body.get("max_tokens") or 12, len(WORDS))]
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        if "[half a usage]" in text:
            del usage["completion_tokens"]
        served = re.search(r"\[served by (.*?)\]", text)
        model = served[1] if served else body["model"]
        whole = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": model}
        if body.get("stream"):
            self._stream(whole, words, usage, text)
            return
        message = {"role": "assistant", "content": " ".join(words) + self.server.padding}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(200, {**whole, "choices": [choice], "usage": usage})

    def _stream(
        self, whole: dict[str, Any], words: list[str], usage: dict[str, int], text: str
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, word in enumerate(words):
            last = number == len(words) - 1
            delta = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": "stop" if last else None}  # fmt: skip
            has_usage = last and "[no usage]" not in text
            chunk = {**whole, "choices": [delta], **({"usage": usage} if has_usage else {})}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            if "[broken]" in text and number == 1:
                self.connection.shutdown(2)
                return
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _embed(self, body: dict[str, Any]) -> None:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        tokens = sum(len(text) // 4 + 1 for text in inputs)
        data = [
            {"object": "embedding", "index": index, "embedding": [0.0, 1.0]}
            for index in range(len(inputs))
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": 0, "completion_tokens": 0}
        self._send(
            200,
            {"id": "e", "object": "list", "model": body["model"], "data": data, "usage": usage},
        )

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def handle(self) -> None:
        """Ignore a client that disconnects."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def mistral_standin(padding_bytes: int = 0) -> Iterator[str]:
    """Serve on a free port of loopback; give its URL. The text of each answer is padded."""
    server = _Server(padding_bytes)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def last_received(url: str) -> dict[str, Any]:
    """Return the body that the stand-in at a URL received last."""
    with urllib.request.urlopen(f"{url}/received") as answer:  # noqa: S310 - our own
        body: dict[str, Any] = json.load(answer)["received"][-1]
    return body
