"""A real sidecar process, and real clients of it."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from mistral_spend.v1 import authorization_pb2 as pb
from mistral_spend.v1.authorization_pb2_grpc import AuthorizationServiceStub

from support.forks import Forked, can_fork

START_SECONDS = 30

OF_THE_MOMENT = (
    "replayed", "hold_state", "warnings", "fitting_max_output_tokens", "fitting_models",
)  # fmt: skip
"""Fields of a response that are worked out when it is given."""


@dataclass
class RunningSidecar:
    """`sidecar serve` in a process of its own: a fork if it can be, as `support.forks` explains."""

    policies: Path
    ledger: Path
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    process: Forked | subprocess.Popen[str] | None = None
    stdout: int | None = None
    prefix: tuple[str, ...] = ()
    """Goes in front of the command line of a process that is no fork, as a limit of memory does."""
    log: str = ""
    addresses: list[str] = field(default_factory=list)

    def start(self) -> "RunningSidecar":
        """Start the process, and wait for its addresses in the log."""
        listen = () if "--listen" in self.args else ("--listen", "127.0.0.1:0")
        arguments = [
            "serve", "--policies", str(self.policies), "--ledger", str(self.ledger),
            *listen, *self.args,
        ]  # fmt: skip
        environment = {**os.environ, **self.env}
        if can_fork(self.env) and not self.prefix:
            self.process = Forked(arguments, env=environment, stdout=self.stdout)
        else:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*self.prefix, sys.executable, "-m", "sidecar", *arguments],
                stdout=self.stdout,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"SERVING on (.*?); policies", line):
                self.addresses = found[1].split(", ")
                return self
        raise AssertionError(f"it did not start:\n{self.log}")

    @property
    def stub(self) -> AuthorizationServiceStub:
        """A client of its first address, on a channel of its own."""
        return stub(self.addresses[0])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=START_SECONDS)
        self.log += rest
        return self.process.wait()

    def restart(self) -> "RunningSidecar":
        """Start the process again; its port may change."""
        self.log = ""
        return self.start()


def stub(address: str) -> AuthorizationServiceStub:
    """Return a client that does not retry by itself."""
    channel = grpc.insecure_channel(address, options=(("grpc.enable_retries", 0),))
    return AuthorizationServiceStub(channel)  # type: ignore[no-untyped-call]


def principal(**changes: Any) -> pb.Principal:
    """Return a developer in the dev-workspace, with changes."""
    return pb.Principal(
        **{"id": "ada", "role": "developer", "workspace": "dev-workspace", **changes}
    )


def tester(**changes: Any) -> pb.Principal:
    """Return the principal of the minimal policies, with changes."""
    return principal(**{"role": "tester", "workspace": "lab", **changes})


def chat(who: pb.Principal | None = None, **changes: Any) -> pb.AuthorizeRequest:
    """Return a chat request of 100 input and 100 output tokens, with changes."""
    estimate = {"input_tokens": 100, "max_output_tokens": 100, **changes.pop("estimate", {})}
    if "input_bytes" in estimate:
        del estimate["input_tokens"]
    ttl = changes.pop("hold_ttl_seconds", None)
    return pb.AuthorizeRequest(
        **{
            "principal": who or principal(),
            "model": "mistral-small-latest",
            "endpoint": pb.ENDPOINT_CHAT,
            "estimate": pb.Estimate(**estimate),
            "hold_ttl": None if ttl is None else Duration(seconds=ttl),
            **changes,
        }
    )


def recorded(answer: pb.AuthorizeResponse) -> pb.AuthorizeResponse:
    """Return the recorded decision in a response (L3), without the fields of this response alone."""
    kept = pb.AuthorizeResponse()
    kept.CopyFrom(answer)
    for of_the_moment in OF_THE_MOMENT:
        kept.ClearField(of_the_moment)
    return kept


def error_info(error: grpc.RpcError) -> ErrorInfo:
    """Return the google.rpc.ErrorInfo that is the first detail of every error."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    first, *others = status.details
    info = ErrorInfo()
    assert first.Unpack(info)
    assert not any(detail.Is(ErrorInfo.DESCRIPTOR) for detail in others)
    return info


def eventually(check: Any, seconds: float = 10) -> Any:
    """Wait until the check returns a true value, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return result
