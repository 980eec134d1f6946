"""The progress of a rotation on the terminal."""

from types import TracebackType
from typing import Self

from sidecar.cli.tables import cell, console
from sidecar.cli.terminal import say
from sidecar.domain.clock import to_datetime
from sidecar.domain.rotation import KeyRotation


class Progress:
    """A `Watcher`: a line for each stage on standard error, and what it waits for below."""

    def __init__(self) -> None:
        """Show on standard error; standard output has the result."""
        self._console = console(err=True)
        self._status = self._console.status("asking Mistral")
        self._waits_for = ""

    def __enter__(self) -> Self:
        """Start the display."""
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the display; the lines of finished stages stay."""
        self._status.stop()

    def reached(self, rotation: KeyRotation, note: str) -> None:
        """See Watcher.reached."""
        why = f": {note}" if note else ""
        line = f"{rotation.key_id}#{rotation.to_version} {rotation.stage}{why}"
        say(line, err=True)
        self._status.update(cell(line))

    def waits(self, rotation: KeyRotation, why: str, until_us: int | None) -> None:
        """See Watcher.waits."""
        until = "" if until_us is None else f", until {to_datetime(until_us):%Y-%m-%d %H:%M:%S} UTC"
        line = f"{rotation.key_id}#{rotation.to_version} waits: {why}{until}"
        self._status.update(cell(line))
        if not self._console.is_terminal and why != self._waits_for:
            say(line, err=True)
        self._waits_for = why
