"""A time limit on loading that really interrupts."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sidecar.policy.files.problems import PolicyError, Problem

LOAD_SECONDS = 20.0
"""The longest that a policy directory may take; 500 rules take less than three."""


AGAIN_SECONDS = 0.1


class _TooLongError(BaseException):
    """The alarm. Not an Exception, so that nothing on the way takes it for its own failure."""


@contextmanager
def deadline(place: str, seconds: float | None = None, what: str = "to load") -> Iterator[None]:
    """Raise PolicyError when the block takes longer, wherever it is by then; `what` it is for.

    The alarm reaches Python code, and regular expressions that never end; cel-cpp
    has bounds of its own. Signals belong to the main thread, so elsewhere there
    is no limit.
    """
    limit = LOAD_SECONDS if seconds is None else seconds
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    alarms = []

    def too_long(_number: int, _frame: FrameType | None) -> None:
        alarms.append(_TooLongError())
        raise alarms[-1]

    before = signal.signal(signal.SIGALRM, too_long)
    # Where cel-cpp calls Python, it takes the alarm for a failure of its own: strike again.
    signal.setitimer(signal.ITIMER_REAL, limit, AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:
        if not alarms:
            raise
    finally:
        signal.signal(signal.SIGALRM, before)
    if alarms:
        message = f"takes longer than {limit:g} s {what}"
        problem = Problem(place, 0, 0, message, hint="make the files smaller")
        raise PolicyError([problem])
