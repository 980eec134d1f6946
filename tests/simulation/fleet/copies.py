"""Ledger files that were copied and served twice, and what the fleet may lose by that (C)."""

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from sidecar.domain.decisions import Meter
from sidecar.domain.sharing import TIMELESS, BudgetKey
from sidecar.domain.windows import Window
from simulation.disk import Files, read
from simulation.fleet.pod import Pod
from simulation.process import FOLDERS

ANY = 10**12
"""The shares of a minute and of a concurrent limit in a copy: they are used more than once."""


class Copies:
    """At most one copy in a world."""

    def __init__(self) -> None:
        """Begin without a copy."""
        self.has_copy = False
        self._used: Counter[BudgetKey] = Counter()
        """What was used when the file was copied."""
        self._branches: list[Pod] = []
        self._left: list[Counter[BudgetKey]] = []
        """The shares in the copies that are not served any more."""

    def fork(self, pod: Pod, copy: Pod | None, files: Files, now_us: int) -> None:
        """Note that a pod's file is copied, for another pod or to be served in place of it."""
        self.has_copy = True
        self._branches = [pod] if copy is None else [pod, copy]
        self._used = _amounts(files, _USED, {"now_us": now_us})

    def left(self, pod: Pod, files: Files) -> None:
        """Note that a pod goes on with another file than it had."""
        if pod in self._branches and files:
            self._left.append(_amounts(files, _SHARES))
            self._branches.remove(pod)

    def excess(self) -> Counter[BudgetKey]:
        """Return C: the most that one of the copies had left when it was copied, or got since."""
        shares = list(self._left)
        for pod in self._branches:
            files = pod.files if pod.run is None else read(pod.run.path)
            if files:
                shares.append(_amounts(files, _SHARES))
        rest: Counter[BudgetKey] = Counter()
        for share in shares if self.has_copy else ():
            for key, granted in share.items():
                is_timeless = key.window in TIMELESS
                rest[key] = max(rest[key], granted - self._used[key], ANY * is_timeless)
        return rest


def _amounts(files: Files, query: str, values: dict[str, int] | None = None) -> Counter[BudgetKey]:
    with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
        path = Path(folder) / "copy.sqlite"
        for end, content in files.items():
            Path(f"{path}{end}").write_bytes(content)
        with closing(sqlite3.connect(path)) as connection:
            found: Counter[BudgetKey] = Counter()
            for rule, meter, window, scope, start_us, amount in connection.execute(
                query, values or {}
            ):
                found[BudgetKey(rule, Meter(meter), Window(window), scope, start_us)] = amount
            return found


_SHARES = "SELECT rule, meter, window, scope, window_start_us, granted FROM shares"
_USED = """
SELECT rule, meter, window, scope, window_start_us, sum(spent + held) FROM budgets
WHERE window NOT IN ('minute', 'concurrent') GROUP BY 1, 2, 3, 4, 5"""
