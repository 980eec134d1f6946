"""The language server by which editors check YAML, installed from npm by its lock file."""

import fcntl
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support import tools
from support.npm import RETRIES

FOLDER = Path(__file__).parents[1] / "editor"
_SERVER = FOLDER / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"

_SETTINGS = {
    "yaml": {
        "validate": True,
        "schemaStore": {"enable": False},  # which is on the network
        "kubernetesCRDStore": {"enable": False},
    }
}


def installed() -> Path:
    """Return the server's program, or skip the test if it cannot be installed."""
    for name in ("node", "npm"):
        tools.program(name)
    with (FOLDER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers may want the same at the same time
        mark = FOLDER / "node_modules" / ".locked"
        wanted = lock.read()
        if not mark.exists() or mark.read_text() != wanted:
            done = subprocess.run(  # noqa: S603 - pinned by the lock file
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *RETRIES],  # noqa: S607
                cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            with tools.needed():
                if done.returncode != 0:
                    raise tools.MissingError(
                        f"npm cannot install yaml-language-server: {done.stderr[-300:]}"
                    )
            mark.write_text(wanted)
    return _SERVER


class Mark(NamedTuple):
    """A problem that an editor shows: its line, from 1, and its message."""

    line: int
    message: str


class LanguageServer:
    """A server at work, spoken to as an editor does: JSON-RPC on its standard streams."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        """Start the session, as an editor does."""
        self._process = process
        self._asked = 0
        self._configured = False
        self._request("initialize", {
            "processId": None, "rootUri": None, "workspaceFolders": None,
            "capabilities": {"workspace": {"configuration": True}, "textDocument": {}},
        })  # fmt: skip
        self._send({"method": "initialized", "params": {}})
        while not self._configured:
            self._receive()

    def problems(self, files: Iterable[Path]) -> dict[Path, list[Mark]]:
        """Return the server's problems with files that an editor has just opened."""
        waiting = {file.resolve().as_uri(): file for file in files}
        for uri, file in waiting.items():
            text = file.read_text()
            document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
            self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        found = {}
        while waiting:
            message = self._receive()
            if message.get("method") == "textDocument/publishDiagnostics":
                file_or_none = waiting.pop(message["params"]["uri"], None)
                if file_or_none is not None:
                    found[file_or_none] = [
                        Mark(one["range"]["start"]["line"] + 1, one["message"])
                        for one in message["params"]["diagnostics"]
                    ]
        return found

    def stop(self) -> None:
        """End the server, as an editor does."""
        self._request("shutdown", None)
        self._send({"method": "exit"})

    def _request(self, method: str, params: object) -> None:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        while self._receive().get("id") != self._asked:
            pass

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        """Return the next message, after responding to the server's own requests."""
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server ended"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        if "method" in message and "id" in message:
            params = message["params"] or {}
            answer = [
                _SETTINGS.get(item.get("section", ""), {}) for item in params.get("items", [])
            ]
            self._send({"id": message["id"], "result": answer or None})
            self._configured |= bool(answer)
            return {}
        return message


@contextmanager
def running() -> Iterator[LanguageServer]:
    """Run a language server, or skip the test if it cannot be installed."""
    process = subprocess.Popen(  # noqa: S603 - pinned by the lock file
        ["node", str(installed()), "--stdio"],  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = LanguageServer(process)
        yield server
        server.stop()
    finally:
        process.kill()
        process.communicate()
