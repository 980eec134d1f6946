"""Where the `sidecar` command begins. Probes are many, so they load no more than they need."""

import sys


def main() -> None:
    """Run the command line. What the terminal cannot show is escaped, and ends nothing."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sys.argv[1:2] == ["healthz"]:
        from sidecar.cli.healthz import probe  # noqa: PLC0415 - only here is it all

        sys.exit(probe(sys.argv[2:]))
    from sidecar.cli.main import app  # noqa: PLC0415 - takes most of a second

    app()
