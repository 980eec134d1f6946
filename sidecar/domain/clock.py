"""Time as whole microseconds since the Unix epoch, in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from sidecar.domain.errors import ErrorCode, SidecarError

MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_YEAR, MAX_YEAR = 2000, 2200
"""The bounds of a time that people enter."""

MAX_JUMP_US = 300 * SECOND_US
"""How far the system's clock may be ahead of the time that has passed."""

MAX_IDLE_DAYS = 31
"""How long after the ledger's last entry the system's clock is trusted at a start."""

Clock = Callable[[], int]
"""Returns the time now, in microseconds since the epoch."""


def to_datetime(at_us: int) -> datetime:
    """Convert microseconds since the epoch to a datetime in UTC, exactly."""
    return EPOCH + timedelta(microseconds=at_us)


def to_us(at: datetime) -> int:
    """Convert an aware datetime to microseconds since the epoch, exactly."""
    return (at - EPOCH) // MICROSECOND


def format_time(at_us: int, zone: tzinfo) -> str:
    """Format a time to the minute, as in 2026-11-24 14:05."""
    return f"{to_datetime(at_us).astimezone(zone):%Y-%m-%d %H:%M}"


def format_date(at_us: int, zone: tzinfo) -> str:
    """Format the day of a time, as in 2026-11-24."""
    return to_datetime(at_us).astimezone(zone).date().isoformat()


def format_length(length_us: int) -> str:
    """Format a length of time for people: in days from two days on, else in seconds.

    >>> format_length(90 * SECOND_US), format_length(31 * DAY_US + 5)
    ('90 s', '31 days')
    """
    if length_us >= 2 * DAY_US:
        return f"{length_us // DAY_US:,} days"
    return f"{length_us // SECOND_US:,} s"


class ClockJumpedError(SidecarError):
    """The system's clock is far ahead of the time that has passed: no call is decided by it."""

    code, reason = ErrorCode.UNAVAILABLE, "CLOCK_JUMPED"


class ClockGuard:
    """Checks the clock before a decision. This base class trusts every clock."""

    def check(self) -> None:
        """Raise ClockJumpedError while the clock cannot be trusted."""

    def behind_us(self) -> int:
        """Return how far the system's clock is behind the time of decisions, in microseconds."""
        return 0


TRUSTING = ClockGuard()


class GuardedClock(ClockGuard):
    """The time of decisions: it never goes back, and no jump of the system's clock moves it far.

    A system clock that is set back must not reopen a closed window, nor bring an older price
    back into force: the time stands still until that clock has caught up. One that jumps ahead
    must not close a window that has not ended, nor prune what is young: the time then goes on
    as the steady clock does, until the system's is back, or the sidecar starts again.
    """

    def __init__(self, wall: Clock, steady: Clock, floor_us: int = 0) -> None:
        """Trust the system's clock as it is now; the steady clock counts from any moment."""
        self._wall = wall
        self._steady = steady
        self._now_us = max(floor_us, wall())
        self._moved_at_us = steady()

    def __call__(self) -> int:
        """Return the time now, in microseconds since the epoch."""
        wall_us, steady_us, passed_us = self._read()
        now_us = wall_us if wall_us <= passed_us + MAX_JUMP_US else passed_us
        if now_us > self._now_us:
            self._now_us, self._moved_at_us = now_us, steady_us
        return self._now_us

    def check(self) -> None:
        """See ClockGuard.check."""
        if problem := self.problem():
            raise ClockJumpedError(problem)

    def problem(self) -> str:
        """Return why the clock cannot be trusted; empty while it can."""
        wall_us, _, passed_us = self._read()
        if wall_us <= passed_us + MAX_JUMP_US:
            return ""
        return (
            f"the system's clock is {format_length(wall_us - passed_us)} ahead of the time that"
            " has passed; set it right, or start the sidecar again if it is right"
        )

    def behind_us(self) -> int:
        """See ClockGuard.behind_us. It is negative while a jump ahead is not trusted."""
        return self() - self._wall()

    def _read(self) -> tuple[int, int, int]:
        """Return both clocks, and the time by the steady one."""
        wall_us, steady_us = self._wall(), self._steady()
        return wall_us, steady_us, self._now_us + steady_us - self._moved_at_us


def check_start(ledger_us: int, wall_us: int, confirmed_day: str) -> str:
    """Return why a ledger is not opened by this clock; empty if it is.

    At a start, no steady clock says how much time has passed since the ledger's last entry.
    So the system's clock is trusted up to MAX_IDLE_DAYS, and beyond them on the day that was
    confirmed. A ledger without an entry (0) has no time to compare with.
    """
    idle_us = wall_us - ledger_us
    today = format_date(wall_us, UTC)
    if not ledger_us or idle_us <= MAX_IDLE_DAYS * DAY_US or confirmed_day == today:
        return ""
    return (
        f"by the system's clock it is {today}, {idle_us // DAY_US} days after the ledger's last"
        " entry: a wrong clock would close its windows and prune it. If the date is right, start"
        f" with --confirm-clock {today}"
    )
