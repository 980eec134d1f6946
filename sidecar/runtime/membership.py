"""Whether a sidecar's budgets are its own, or those of a fleet."""

from sidecar.domain.clock import Clock
from sidecar.runtime.alone import Alone
from sidecar.runtime.settings import Settings
from sidecar.runtime.shared_flags import FLEET_URL_FILE, NEEDS_DRIVER


def membership(settings: Settings, steady_clock: Clock) -> Alone:
    """Return the sidecar's place in a fleet, if it is in one.

    Raises LedgerRefusedError, or ValueError, which names the flag.
    """
    if settings.fleet_url_file is None:
        return Alone()
    try:
        from sidecar.runtime.fleet import FleetMember  # noqa: PLC0415 - only a fleet needs a driver
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ValueError(f"{FLEET_URL_FILE.name}: {NEEDS_DRIVER}") from None

    return FleetMember(settings.fleet_url_file, settings, steady_clock)
