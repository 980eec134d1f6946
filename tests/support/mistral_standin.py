"""A stand-in for Mistral's API: a real HTTP server, with made-up text and real usage objects."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "stand-in-key"
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "on"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer chat (whole or streamed), FIM, embeddings and OCR."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {API_KEY}":
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
        """List models."""
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
        whole = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        if body.get("stream"):
            self._stream(whole, words, usage)
            return
        message = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(200, {**whole, "choices": [choice], "usage": usage})

    def _stream(self, whole: dict[str, Any], words: list[str], usage: dict[str, int]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, word in enumerate(words):
            last = number == len(words) - 1
            delta = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": "stop" if last else None}  # fmt: skip
            chunk = {**whole, "choices": [delta], **({"usage": usage} if last else {})}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
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
        """Say nothing."""


@contextmanager
def mistral_standin() -> Iterator[str]:
    """Serve on a free port of loopback; give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
