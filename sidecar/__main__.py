"""`python -m sidecar` is `sidecar`."""

from sidecar.cli.entry import main

main()
