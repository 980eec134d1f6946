"""An alert, for tests of delivery."""

from sidecar.domain.alerts import Alert, AlertKind
from sidecar.domain.decisions import Meter
from sidecar.domain.windows import Window

NOON = 1_794_398_400_000_000
HOUR = 3_600_000_000


def alert(number: int = 1, **changes: object) -> Alert:
    """Return an alert, with changes."""
    one = Alert(
        f"alert_{number}", AlertKind.THRESHOLD, NOON, "monthly", "lab", Meter.COST, Window.HOUR,
        NOON, NOON + HOUR, 80, 10_000_000_000, 7_000_000_000, 1_000_000_000,
    )  # fmt: skip
    return one._replace(**changes)  # type: ignore[arg-type] # its fields
