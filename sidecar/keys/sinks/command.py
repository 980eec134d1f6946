"""The sink that runs a command of the operator's, such as a client of a vault."""

import asyncio
import json
import os
import shlex
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress

from sidecar.keys.secret import Secret
from sidecar.keys.sinks.sink import SinkError

TIMEOUT_SECONDS = 30.0
DIGEST_DIGITS = 64


class CommandSink:
    """Runs a command with one more argument: `store`, `holds`, `restore` or `forget`.

    `store` reads JSON on standard input, with `key_id` as KEY#VERSION and `api_key`. `holds`
    prints the SHA-256 of the secret that apps find, in hexadecimal, or nothing. An exit code
    other than 0 is a failure.
    """

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

    async def holds(self) -> str:
        """See Sink.holds."""
        text = (await self._run("holds")).decode("ascii", "replace").strip()
        if text and (len(text) != DIGEST_DIGITS or set(text) - set("0123456789abcdef")):
            raise SinkError("the command does not print a SHA-256 for `holds`")
        return text

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """See Sink.store."""
        document = {"key_id": f"{key_id}#{version}", "api_key": secret.reveal()}
        await self._run("store", json.dumps(document).encode() + b"\n")

    async def restore(self) -> None:
        """See Sink.restore."""
        await self._run("restore")

    async def forget(self) -> None:
        """See Sink.forget."""
        await self._run("forget")

    async def close(self) -> None:
        """Nothing is open."""

    async def _run(self, verb: str, stdin: bytes = b"") -> bytes:
        # The sidecar's settings may contain secrets.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SIDECAR_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments, verb, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SinkError(f"the command cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                printed, _ = await process.communicate(stdin)
        except TimeoutError:
            why = f"the command was killed after {self._timeout_seconds:g} s of `{verb}`"
            raise SinkError(why) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with its child processes
                await process.wait()
        if process.returncode:
            raise SinkError(f"the command ended `{verb}` with exit code {process.returncode}")
        return printed
