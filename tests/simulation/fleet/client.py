"""A simulated app of a fleet: it authorizes at any pod, calls and settles, or not."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from support.reservations import reservation, settlement

from sidecar.domain.clock import SECOND_US
from sidecar.domain.decisions import Decision, Effect, ReservationRequest
from sidecar.domain.errors import SidecarError
from sidecar.fleet.protocol import FleetUnreachableError
from sidecar.ledger.protocol import LedgerUnavailableError
from sidecar.ledger.replays import REQUEST_ID
from simulation.fleet.calls import Call, Calls
from simulation.fleet.limits import Highest, Rule
from simulation.fleet.loop import FleetLoop
from simulation.fleet.pod import DiedError, Pod, Run
from simulation.promises import BrokenPromiseError

WAIT_SECONDS = 1.1
"""How long a call may wait, beside its commits."""
LONGEST_RETRY_US = 65 * SECOND_US
"""An app waits no longer for a window to end."""
DENIED_SECONDS = 0.6
"""How long the books' word that there is no room may be used."""

_RECORDED = f"SELECT d.decision_id FROM all_decisions d WHERE {REQUEST_ID} = ?"


class Caller:
    """Makes calls, and checks the answers."""

    def __init__(self, loop: FleetLoop, calls: Calls, highest: Highest) -> None:
        """Add the calls that are made to these."""
        self._loop, self._calls, self._highest = loop, calls, highest
        self._numbers = 0
        self._has_long_calls = loop.maybe(0.5)
        self._retries = loop.maybe(0.5)
        self.has_ranks = loop.maybe(0.2)
        """Whether ceilings depend on the call."""
        self.uses_all = False
        """Whether each call uses just what is held for it, and none waits as its denial says."""
        self.longest_seconds = 0.0

    async def call(
        self, pod: Pod, rules: list[Rule], tokens: int, ttl_seconds: float
    ) -> Effect | None:
        """Make one call; return whether it was allowed, None if it was not decided."""
        run, loop = pod.run, self._loop
        if run is None or not run.is_serving:
            return None
        self._numbers += 1
        part = loop.random.choice([0.5, 1]) if self.has_ranks else 1
        name = f"call {self._numbers}"
        decided_at = began = loop.time()
        stood_still = run.stands_still_until
        ceilings: dict[str, int] = {}

        def propose() -> ReservationRequest:
            nonlocal decided_at
            decided_at = loop.time()
            for rule in rules:
                self._highest.see_ceiling(rule.name, pod.ceilings[rule.name])
            limits = [rule.limit(int(pod.ceilings[rule.name] * part)) for rule in rules]
            ceilings.update((limit.rule, limit.ceiling or 0) for limit in limits)
            ttl_us = int(ttl_seconds * SECOND_US)
            return reservation(run.clock(), *limits, tokens=tokens, request_id=name, ttl_us=ttl_us)

        def then(decision: Decision) -> Decision:
            if decision.effect is Effect.DENY:
                self._check_denial(run, decision, rules, tokens, decided_at, ceilings)
            return decision

        try:
            decision = await pod.call(run, _decide(run, propose, then))
        except DiedError:
            return None
        except (FleetUnreachableError, LedgerUnavailableError) as error:
            loop.note(f"{pod.name}, {name}: {type(error).__name__} {error}"[:100])
            self._check_not_recorded(run, name, error)
            decision = None
        if run.stands_still_until == stood_still <= began and not run.is_dead:
            self._check_wait(loop.time() - began, name)
        if decision is None:
            return None
        loop.note(f"{pod.name}, {name}: {decision.effect} {tokens}, decided at {decided_at:.6f}")
        await self._follow(pod, decision, rules, tokens, decided_at, ttl_seconds)
        return decision.effect

    async def _follow(
        self,
        pod: Pod,
        decision: Decision,
        rules: list[Rule],
        tokens: int,
        decided_at: float,
        ttl_seconds: float,
    ) -> None:
        """Make the call itself, or wait as long as its denial says."""
        if decision.effect is Effect.ALLOW:
            work = self._use(pod, decision, rules, tokens, decided_at, ttl_seconds)
            self._loop.create_task(work).add_done_callback(_result)
        elif 0 < decision.retry_after_us <= LONGEST_RETRY_US and (
            self._retries and not self.uses_all
        ):
            await asyncio.sleep(decision.retry_after_us / SECOND_US + 0.001)

    async def _use(
        self,
        pod: Pod,
        decision: Decision,
        rules: list[Rule],
        tokens: int,
        decided_at: float,
        ttl_seconds: float,
    ) -> None:
        """Make the call itself, and report it in one way or another."""
        loop, random = self._loop, self._loop.random
        starts = {budget.rule: budget.window_start_us for budget in decision.budgets}
        keys = [(rule, rule.key(starts[rule.name])) for rule in rules]
        end = random.choice(["settle", "settle", "settle", "release", "forget"])
        used = 0 if end == "release" else random.randint(0, tokens)
        if self.uses_all:
            end, used = "settle", tokens
        elif end == "settle" and loop.maybe(0.1):
            used = tokens + random.randint(1, 50)
        longest_seconds = 0.9 * ttl_seconds
        seconds = min(random.expovariate(1 / 2), longest_seconds)
        if self._has_long_calls:
            seconds = random.uniform(0, longest_seconds)
        until = decided_at + max(seconds, loop.time() - decided_at)
        if end != "release":
            self._calls.calls.append(
                Call(
                    decided_at,
                    {key: rule.amount(tokens) for rule, key in keys},
                    {key: rule.amount(used) for rule, key in keys},
                    until,
                )
            )
        if end == "forget":
            return
        await asyncio.sleep(until - loop.time())
        for _ in range(3):
            now = pod.run
            if now is not None and now.is_serving:
                with suppress(DiedError, SidecarError):
                    await pod.call(now, self._end(now, decision.hold_id, end, used))
                    loop.note(f"{pod.name}: {end} {used} of {tokens}")
                    return
            await loop.pause(1)

    async def _end(self, run: Run, hold_id: str, end: str, used: int) -> None:
        if end == "settle":
            await run.ledger.settle(hold_id, settlement(run.clock(), used))
        else:
            await run.ledger.release(hold_id, "not sent", run.clock())

    def _check_wait(self, seconds: float, name: str) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        if seconds > WAIT_SECONDS + 25 * self._loop.commit_seconds:
            raise BrokenPromiseError(f"G9 {name} waited {seconds:.3f} s")

    def _check_not_recorded(self, run: Run, name: str, error: SidecarError) -> None:
        if isinstance(error, FleetUnreachableError) and not run.is_dead:
            found = run.inspector.execute(_RECORDED, (name,)).fetchall()
            if found:
                raise BrokenPromiseError(f"G9 {name} was UNAVAILABLE, and is recorded")

    def _check_denial(
        self,
        run: Run,
        decision: Decision,
        rules: list[Rule],
        tokens: int,
        at_seconds: float,
        ceilings: Mapping[str, int],
    ) -> None:
        """G9: the books have just said that they have no room, under the ceiling of the call."""
        refused = {reason.rule for reason in decision.reasons if reason.rule}
        if len(refused) < len(decision.reasons):
            return  # larger than a whole budget
        for rule in rules:
            if rule.name in refused and not self._has_no_room(
                run, rule, tokens, at_seconds, ceilings[rule.name]
            ):
                raise BrokenPromiseError(
                    f"G9 {decision.request_id} was denied, and the books had not just said that"
                    f" {rule.name} has no room for {rule.amount(tokens)}"
                )

    def _has_no_room(
        self, run: Run, rule: Rule, tokens: int, at_seconds: float, ceiling: int
    ) -> bool:
        for came_at, exchange, answer in run.link.answers:
            if came_at < at_seconds - DENIED_SECONDS - 25 * self._loop.commit_seconds:
                continue
            for item, entry in zip(exchange.items, answer.entries, strict=True):
                free = entry.share.granted - item.demand.used
                is_full = free + entry.share.room < rule.amount(tokens)
                if entry.key.rule == rule.name and is_full and item.ceiling >= ceiling:
                    return True
        return False


async def _decide(
    run: Run, propose: Callable[[], ReservationRequest], then: Callable[[Decision], Decision]
) -> Decision:
    return await run.ledger.decide_in_group(propose, then)


def _result(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()
