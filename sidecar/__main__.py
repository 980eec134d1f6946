"""`python -m sidecar` is `sidecar`."""

from sidecar.cli.main import main

main()
