"""A timeout for loading policies, which interrupts Python code in any thread."""

import contextlib
import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

from sidecar.policy.files.problems import PolicyError, Problem

T = TypeVar("T")

MAX_LOAD_SECONDS = 20.0
"""Of a policy directory; 500 rules take less than three."""

REPEAT_SECONDS = 0.1


class _TooLongError(BaseException):
    """The interruption. A BaseException, so that `except Exception` does not catch it."""


class _Alarm:
    """Raises _TooLongError in one thread, repeatedly, until it is stopped."""

    def __init__(self) -> None:
        """Create an alarm for the current thread."""
        self.fired = False
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self, seconds: float) -> None:
        """Fire after so many seconds."""
        threading.Thread(target=self._run, args=(seconds,), name="alarm", daemon=True).start()

    def _run(self, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            with self._lock:
                if not self._stopped.is_set():
                    self.fired = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._thread), ctypes.py_object(_TooLongError)
                    )
            # When cel-cpp calls Python, it may swallow the exception, so it is repeated.
            seconds = REPEAT_SECONDS

    def stop(self) -> None:
        """Stop; nothing is raised after this returns. The last exception may arrive in here."""
        stopped = False
        while not stopped:
            with contextlib.suppress(_TooLongError):
                with self._lock:
                    self._stopped.set()
                # A pending exception is raised here. Clearing it instead would leave the
                # interpreter checking for one at every step from now on.
                for _ in range(2):
                    pass
                stopped = True


def with_timeout(
    place: str, work: Callable[[], T], seconds: float | None = None, what: str = "to load"
) -> T:
    """Run the work; raise PolicyError if it takes longer than `seconds`.

    `what` completes the message: "to load". Only Python code is interrupted. C code has
    bounds of its own: cel-cpp, RE2, and cel-python's patterns, which never see an
    unterminated string.
    """
    # Not a context manager: an exception on the way into __exit__ would leave it running.
    limit = MAX_LOAD_SECONDS if seconds is None else seconds
    alarm = _Alarm()
    try:
        try:
            alarm.start(limit)
            result = work()
        finally:
            alarm.stop()
    except BaseException:
        alarm.stop()  # it may have fired on the way into stop()
        if not alarm.fired:
            raise
    if alarm.fired:
        message = f"takes longer than {limit:g} s {what}"
        raise PolicyError([Problem(place, 0, 0, message, hint="make the files smaller")])
    return result
