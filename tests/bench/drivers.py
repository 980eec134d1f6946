"""The clients that make the calls, each in a process of its own: h2load, and one in Python.

h2load repeats one message, with little CPU. Settle needs another hold in each, and a stream
another request_id: such calls are made by `grpc_client.py`.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import Server

Timed = tuple[float, list[float]]
"""The seconds of all calls together, and the latency of each in milliseconds."""


@contextmanager
def h2load(server: Server, calls: int, in_flight: int) -> Iterator[Callable[[], Timed]]:
    """Yield what makes the calls, on one connection."""
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        message = server.call.message
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = [
            "h2load", "-n", str(calls), "-c", "1", "-m", str(in_flight), "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"--log-file={log}", f"http://{server.address}{server.call.path}",
        ]  # fmt: skip

        def run() -> Timed:
            started = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            seconds = time.monotonic() - started
            assert f"{calls} succeeded" in done.stdout, done.stdout
            data = re.search(r"\((\d+)\) data", done.stdout)
            # An error of gRPC is a success of HTTP, and has no data; any answer has 5 bytes.
            assert data is not None, done.stdout
            assert int(data[1]) >= 5 * calls, done.stdout
            lines = log.read_text().splitlines()
            return seconds, [int(line.split("\t")[2]) / 1000 for line in lines]

        yield run


@contextmanager
def grpc_client(
    server: Server, rpc: str, calls: int, in_flight: int
) -> Iterator[Callable[[], Timed]]:
    """Yield what makes the calls; the client is connected, and has the holds that it needs."""
    program = str(Path(__file__).with_name("grpc_client.py"))
    command = [
        sys.executable, program, server.address, server.call.message.hex(), rpc, str(calls),
        str(in_flight),
    ]  # fmt: skip
    with subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n", "a client gave up: see above"

        def run() -> Timed:
            output, _ = client.communicate("go\n")
            assert client.returncode == 0, "a client gave up: see above"
            answer = json.loads(output)
            return answer["seconds"], [latency / 1000 for latency in answer["latencies_us"]]

        yield run
