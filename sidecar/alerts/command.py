"""The alert channel that runs a command of the operator's."""

import asyncio
import json
import os
import shlex
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress

from sidecar.alerts.channel import NotDeliveredError
from sidecar.domain.alerts import Alert

TIMEOUT_SECONDS = 30.0


class CommandChannel:
    """Runs a command for each alert, with the alert as JSON on standard input."""

    name = "command"

    def __init__(self, command: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Split the command into words as a shell does; no shell runs.

        Raises ValueError when its program does not exist.
        """
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}") from None
        if not self._arguments or shutil.which(self._arguments[0]) is None:
            raise ValueError("its first word is not an executable program")
        self._timeout_seconds = timeout_seconds

    async def deliver(self, alert: Alert, others: int = 0) -> None:
        """Run the command. Raises NotDeliveredError for any exit code but 0."""
        # The sidecar's settings may contain secrets.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SIDECAR_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotDeliveredError(f"cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await process.communicate(json.dumps(alert.document(others)).encode() + b"\n")
        except TimeoutError:
            raise NotDeliveredError(f"killed after {self._timeout_seconds:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with its child processes
                await process.wait()
        if process.returncode:
            raise NotDeliveredError(f"exit code {process.returncode}")

    async def close(self) -> None:
        """Nothing is open."""
