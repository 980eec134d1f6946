"""A time limit on loading that really interrupts, in whichever thread it is."""

import contextlib
import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

from sidecar.policy.files.problems import PolicyError, Problem

T = TypeVar("T")

LOAD_SECONDS = 20.0
"""The longest that a policy directory may take; 500 rules take less than three."""

AGAIN_SECONDS = 0.1


class _TooLongError(BaseException):
    """The alarm. Not an Exception, so that nothing on the way takes it for its own failure."""


class _Alarm:
    """Raises _TooLongError in one thread, again and again until that has stopped it."""

    def __init__(self) -> None:
        """Be quiet until it is started."""
        self.struck = False
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self, seconds: float) -> None:
        """Strike this thread when the seconds are over."""
        threading.Thread(target=self._run, args=(seconds,), name="alarm", daemon=True).start()

    def _run(self, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            with self._lock:
                if not self._stopped.is_set():
                    self.struck = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._thread), ctypes.py_object(_TooLongError)
                    )
            # Where cel-cpp calls Python, it takes the alarm for a failure of its own.
            seconds = AGAIN_SECONDS

    def stop(self) -> None:
        """Return when nothing more will be raised. The last alarm may strike in here."""
        stopped = False
        while not stopped:
            with contextlib.suppress(_TooLongError):
                with self._lock:
                    self._stopped.set()
                # What is raised and not yet heard strikes here. Taking it back would leave
                # the interpreter looking for it at every step from now on.
                for _ in range(2):
                    pass
                stopped = True


def with_timeout(
    place: str, work: Callable[[], T], seconds: float | None = None, what: str = "to load"
) -> T:
    """Do the work; raise PolicyError if it takes longer, wherever it is by then.

    `what` it is for. The alarm reaches Python code. What runs in C has bounds of its own:
    cel-cpp, RE2, and the patterns that cel-python reads with, which never see a text that
    is not closed.
    """
    # No context manager: an alarm on the way into its __exit__ would leave it running.
    limit = LOAD_SECONDS if seconds is None else seconds
    alarm = _Alarm()
    try:
        try:
            alarm.start(limit)
            result = work()
        finally:
            alarm.stop()
    except BaseException:
        alarm.stop()  # it may have struck on the way into the stop
        if not alarm.struck:
            raise
    if alarm.struck:
        message = f"takes longer than {limit:g} s {what}"
        raise PolicyError([Problem(place, 0, 0, message, hint="make the files smaller")])
    return result
