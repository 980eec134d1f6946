"""The sink that is a file: replaced atomically, flushed to disk, readable only by its owner."""

import json
from pathlib import Path

from sidecar.files import whole_file
from sidecar.keys.secret import MAX_BYTES, Secret
from sidecar.keys.sinks.sink import SinkError

PREVIOUS = ".previous"


class FileSink:
    """A file with the secret; a file beside it has the previous one.

    It is JSON with `key_id` (KEY#VERSION) and `api_key`; with `bare`, only the secret, for
    apps that cannot read JSON and so cannot say which version they use. It is replaced by a
    rename, and apps read it again when it changes.
    """

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        """Store the secret at the path. Raises ValueError when its folder does not exist."""
        if not path.parent.is_dir():
            raise ValueError(f"{path}: its folder does not exist")
        self._path = path
        self._previous = path.with_name(path.name + PREVIOUS)
        self._bare = bare

    async def holds(self) -> str:
        """See Sink.holds."""
        return _digest(_read(self._path))

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """See Sink.store."""
        now = _read(self._path)
        if _digest(now) == secret.digest:  # it was stored before a crash
            return
        if now:
            _replace(self._previous, now)
        document = {"key_id": f"{key_id}#{version}", "api_key": secret.reveal()}
        text = secret.reveal() if self._bare else json.dumps(document, indent=2)
        _replace(self._path, f"{text}\n".encode())

    async def restore(self) -> None:
        """See Sink.restore."""
        before = _read(self._previous)
        if not before:
            raise SinkError(f"{self._previous}: does not exist; so the old secret is gone")
        _replace(self._path, before)

    async def forget(self) -> None:
        """See Sink.forget."""
        try:
            self._previous.unlink(missing_ok=True)
            for path in (self._previous, self._path):
                whole_file.remove_unfinished(path)
        except OSError as error:
            raise SinkError(f"{self._previous}: cannot be removed: {error.strerror}") from None

    async def close(self) -> None:
        """Nothing is open."""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(2 * MAX_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SinkError(f"{path}: cannot be read: {error.strerror}") from None
    return content


def _digest(content: bytes) -> str:
    """Return the digest of the secret in a file, in JSON or bare."""
    text = content.decode("ascii", "replace").strip()
    try:
        document = json.loads(text)
        text = document["api_key"] if isinstance(document, dict) else text
        return Secret(text).digest
    except (KeyError, TypeError):
        return ""
    except (ValueError, RecursionError):
        pass
    try:
        return Secret(text).digest
    except ValueError:
        return ""


def _replace(path: Path, content: bytes) -> None:
    """Replace a file, and remove what an interrupted write of it left."""
    try:
        whole_file.remove_unfinished(path)
        whole_file.replace(path, content, 0o600)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from None
