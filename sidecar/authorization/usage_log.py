"""The usage log: names of reported usage that is not understood, never its values."""

import logging
from collections.abc import Iterable

from sidecar.domain.decisions import Hold
from sidecar.domain.usage import UsageReport

log = logging.getLogger(__name__)

MAX_NAMES = 256
"""Names that are remembered. Clients choose them, so new ones beyond are not logged."""

MAX_NAME_CHARACTERS = 64


class UsageLog:
    """Logs each name once in the life of the process."""

    def __init__(self) -> None:
        """Create a log that has logged no name yet."""
        self._names: set[str] = set()

    def note(self, hold: Hold, report: UsageReport, *, unrecognized: bool) -> None:
        """Log what a settlement reports but is not charged for."""
        if unrecognized:
            log.warning(
                "hold %s: its usage has no known count for %s, so it is charged as held",
                hold.hold_id, hold.endpoint,
                extra={"fields": {"hold_id": hold.hold_id}},
            )  # fmt: skip
        for name in self._new(report.mistyped_names):
            log.warning("usage has a %s of the wrong type, which is ignored", name)
        for name in self._new(report.uncharged_names(hold.endpoint)):
            log.info("usage has %s, which is not charged for (%s)", name, hold.endpoint)

    def _new(self, names: Iterable[str]) -> list[str]:
        """Return and remember the names that were not logged before, and can be."""
        new = [
            name
            for name in names
            if name not in self._names and len(name) <= MAX_NAME_CHARACTERS and name.isprintable()
        ][: MAX_NAMES - len(self._names)]
        self._names.update(new)
        return new
