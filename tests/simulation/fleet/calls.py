"""The calls of a simulated fleet: what each was allowed to use, and what it really used."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.domain.sharing import BudgetKey
from sidecar.domain.windows import Window
from simulation.fleet.limits import Highest
from simulation.promises import BrokenPromiseError

MINUTE_SECONDS = 60.0


@dataclass
class Call:
    """A call that was allowed, and made."""

    at_seconds: float
    """When it was decided, by the loop."""
    held: Mapping[BudgetKey, int]
    real: Mapping[BudgetKey, int]
    """What it used."""
    until_seconds: float
    """When it ended."""


@dataclass
class Calls:
    """All calls of the fleet, whose real cost is bounded in each window."""

    calls: list[Call] = field(default_factory=list)

    def check(self, highest: Highest, excess: Counter[BudgetKey], *, sliding: bool) -> None:
        """Check the real cost of each budget: above its limit by overruns and by this excess.

        What depends on the length of time is checked only if it is `sliding`: not if clocks jump.
        """
        by_key: dict[BudgetKey, list[Call]] = defaultdict(list)
        for call in self.calls:
            for key in call.real:
                by_key[key].append(call)
        for key, calls in by_key.items():
            calls.sort(key=lambda call: call.at_seconds)
            bound = highest.of(key) + excess[key]
            if key.window is Window.CONCURRENT:
                if sliding:
                    self._check_concurrent(key, calls, bound)
            elif key.window is Window.MINUTE:
                for number, first in enumerate(calls):
                    if sliding:
                        until = first.at_seconds + MINUTE_SECONDS
                        within = (call for call in calls[number:] if call.at_seconds < until)
                        self._check(key, within, bound, "60 seconds")
            else:
                self._check(key, calls, bound, "a window")

    def _check(self, key: BudgetKey, calls: Iterable[Call], bound: int, what: str) -> None:
        real = overruns = 0
        for call in calls:
            real += call.real[key]
            overruns += max(0, call.real[key] - call.held[key])
        if real > bound + overruns:
            raise BrokenPromiseError(
                f"L1 {what} of {key.rule} cost {real}, of {bound} and {overruns} of overruns"
            )

    def _check_concurrent(self, key: BudgetKey, calls: Iterable[Call], bound: int) -> None:
        ends: list[float] = []
        for call in calls:
            while ends and ends[0] <= call.at_seconds:
                heapq.heappop(ends)
            heapq.heappush(ends, call.until_seconds)
            if len(ends) > bound:
                raise BrokenPromiseError(
                    f"L1 {len(ends)} calls of {key.rule} at once at {call.at_seconds:.3f} s,"
                    f" of {bound}"
                )
