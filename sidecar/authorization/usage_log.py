"""What is said in the log of usage that is not understood: names, and never a value."""

import logging
from collections.abc import Iterable

from sidecar.domain.decisions import Hold
from sidecar.domain.usage import UsageReport

log = logging.getLogger(__name__)

MAX_NAMES = 256
"""Names that are remembered: they come from outside. Past them, new ones are not logged."""

MAX_NAME_CHARACTERS = 64


class UsageLog:
    """Logs each name once, for as long as the process lives."""

    def __init__(self) -> None:
        """Remember no name yet."""
        self._names: set[str] = set()

    def note(self, hold: Hold, report: UsageReport, *, unrecognized: bool) -> None:
        """Log what a settlement reports that is not charged as it is reported."""
        if unrecognized:
            log.warning(
                "hold %s: no count in its usage is known for %s, so it is charged as held",
                hold.hold_id, hold.endpoint,
                extra={"fields": {"hold_id": hold.hold_id}},
            )  # fmt: skip
        for name in self._new(report.mistyped_names):
            log.warning("usage has a %s of a wrong type: it counts as left out", name)
        for name in self._new(report.uncharged_names(hold.endpoint)):
            log.info("usage has %s, which nothing is charged for (%s)", name, hold.endpoint)

    def _new(self, names: Iterable[str]) -> list[str]:
        """Return the names that have not been logged, and can be."""
        new = [
            name
            for name in names
            if name not in self._names and len(name) <= MAX_NAME_CHARACTERS and name.isprintable()
        ][: MAX_NAMES - len(self._names)]
        self._names.update(new)
        return new
