"""`sidecar healthz`: the health check for exec probes.

Probes run often, on the CPU of the pod. So this parses its arguments without typer, which
takes as long to load as everything else.
"""

import argparse
import os
from collections.abc import Sequence

from sidecar.cli.terminal import say
from sidecar.server.health_client import status


def probe(arguments: Sequence[str]) -> int:
    """Print the health of a sidecar, and return the exit code: 0 for SERVING, else 1."""
    options = _parser().parse_args(arguments)
    health = status(options.address, options.service, options.timeout_seconds)
    good = health == "SERVING"
    say(health, err=not good)
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar healthz",
        description="Exit 0 if a running sidecar is SERVING, else 1; for probes.",
        epilog="Example: sidecar healthz --address unix:/run/sidecar/sidecar.sock",
    )
    parser.add_argument(
        "--address",
        action=_Once,
        default=os.environ.get("SIDECAR_ADDRESS") or "127.0.0.1:50051",
        help="where the sidecar listens: HOST:PORT or unix:PATH [env var: SIDECAR_ADDRESS]",
    )
    parser.add_argument(
        "--service",
        action=_Once,
        default="readiness",
        help="readiness (the default), liveness, or the name of a gRPC service",
    )
    parser.add_argument(
        "--timeout-seconds",
        action=_Once,
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="1 by default",
    )
    return parser


class _Once(argparse.Action):
    """Stores a value, and refuses a second one: see sidecar/cli/given_once.py."""

    given = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,  # noqa: ARG002 - argparse's
    ) -> None:
        """See argparse."""
        if self.given:
            parser.error(f"{self.option_strings[-1]} is given twice, and takes one value")
        self.given = True
        setattr(namespace, self.dest, values)
