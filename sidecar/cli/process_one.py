"""Process 1 of a container: passes signals on to the command, and reaps orphans."""

import os
import signal
from contextlib import suppress

FORWARDED = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
_AWAITED = {*FORWARDED, signal.SIGCHLD}


def leave_process_one() -> None:
    """Return in a child process if this is process 1, which then does nothing but its duty.

    The kernel drops signals that process 1 does not handle yet, and gives it the orphans of
    all processes of the container, such as the children of alert commands. So the command
    does not run as process 1, whose exit code is that of the command.
    """
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a parent may have ignored it for us
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    child = os.fork()
    if child:
        os._exit(_serve(child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)


def _serve(child: int) -> int:
    """Pass signals on to the child, and reap all that end; return the child's exit code."""
    while True:
        number = signal.sigwait(_AWAITED)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        for pid, status in iter(_ended, (0, 0)):
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _ended() -> tuple[int, int]:
    """Reap one process that has ended; return its number and status, 0 and 0 without one."""
    return os.waitpid(-1, os.WNOHANG)
