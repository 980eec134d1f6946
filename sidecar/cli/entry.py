"""The entry point of the `sidecar` command. Probes run often, so they load little."""

import sys

from sidecar.cli.process_one import leave_process_one


def main() -> None:
    """Run the command line. Characters that the terminal cannot show are escaped."""
    leave_process_one()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.argv[1:2] == ["healthz"]:
        from sidecar.cli.healthz import probe  # noqa: PLC0415 - only probes need it

        sys.exit(probe(sys.argv[2:]))
    from sidecar.cli.main import app  # noqa: PLC0415 - takes most of a second

    app()
