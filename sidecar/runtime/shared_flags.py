"""Flags of `sidecar serve` that other commands have, too."""

from enum import StrEnum

from sidecar.domain.flags import Flag
from sidecar.domain.share import Share


class EngineName(StrEnum):
    """Which CEL evaluator runs the rules."""

    CEL_CPP = "cel-cpp"
    CEL_PYTHON = "cel-python"


POLICIES = Flag("--policies", "The directory of policies: rules and data files.", "DIR")
CONFIRM_CLOCK = Flag(
    "--confirm-clock",
    "The date of today in UTC, which is needed where the ledger's last entry is more than a month"
    " old: a wrong clock would close its windows and prune it.",
    "YYYY-MM-DD",
)
LEDGER = Flag("--ledger", "The ledger file.", "FILE")
ENGINE = Flag(
    "--engine", "The CEL evaluator; cel-python is for machines without a wheel of cel-cpp."
)
SHARE = Flag(
    "--share",
    "The part of every ceiling that this sidecar may spend: 1/5 in each of 5 pods.",
    "K/N",
    parse=Share.read,
)
FLEET_URL_FILE = Flag(
    "--fleet-url-file",
    "A file with the URL of a fleet's books on PostgreSQL, whose sidecars share each budget:"
    " postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full",
    "FILE",
)
NEEDS_DRIVER = 'needs a package: pip install "mistral-spend-sidecar[fleet]"'
"""What a fleet lacks where its driver is not installed."""

TIME_ZONE = Flag("--time-zone", "The time zone in which hours, days and months begin and end.")
