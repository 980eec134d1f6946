"""A simulated fleet: the seed determines the pods, their calls, the events and the faults."""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from sidecar.domain.clock import SECOND_US, to_us
from sidecar.domain.decisions import Effect, Meter
from sidecar.domain.errors import SidecarError
from sidecar.domain.sharing import TIMELESS, BudgetKey
from sidecar.domain.windows import Calendar, Window
from simulation.disk import Disk, read
from simulation.fleet.books import CheckedBooks, counts, taken
from simulation.fleet.calls import Calls
from simulation.fleet.client import Caller
from simulation.fleet.copies import Copies
from simulation.fleet.limits import Highest, Rule, draw
from simulation.fleet.loop import FleetLoop
from simulation.fleet.network import Network
from simulation.fleet.pod import DiedError, Node, Pod, off_loop
from simulation.process import FOLDERS, empty_ledger
from simulation.promises import BrokenPromiseError

MIDNIGHT_US = to_us(datetime(2026, 11, 10, tzinfo=UTC))
LARGEST_TOKENS = 20

SETTLED_SECONDS = 4.0
"""After the faults, and when the books have learnt: shares that nobody uses come back."""
EAGER_SECONDS = 0.4
TRIES = 8
"""With which a call under a budget with room is admitted in a fleet without faults."""


Event = Callable[[Pod], Awaitable[None]]


class World:
    """One world, built from a seed, which runs once."""

    def __init__(self, seed: int) -> None:
        """Draw the world's parameters from the seed."""
        self.command = f"python -m simulation.fleet --seed {seed}"
        self._loop = loop = FleetLoop(seed)
        random = loop.random
        self.trace = loop.trace
        loop.off_loop = lambda done, work: off_loop(loop, done, work)
        self._rules = draw(random, LARGEST_TOKENS)
        is_timeless = all(rule.window in TIMELESS for rule in self._rules)
        lengths = [8, 8, 70] if is_timeless else [4, 8, 8, 8, 15, 15, 25, 25, 60]
        self._seconds = random.choice(lengths)
        loop.wall_us = MIDNIGHT_US - random.choice([5, 15, 600]) * SECOND_US
        self._highest, self._calls, self.faults = Highest(), Calls(), Counter[str]()
        self._books = CheckedBooks(loop.clock, self._highest)
        self._network = Network(loop, self._books, random.choice([0, 0, 0.05, 0.2]))
        self._disk_rate = random.choice([0, 0, 0, 0.005, 0.03])
        self._pace_seconds = random.choice([0.05, 0.2, 0.6]) * (5 if self._seconds > 50 else 1)
        self._has_jumps = loop.maybe(0.15)
        self._offset_seconds = random.choice([0, 0.2, 5])
        self._ttl_seconds = random.choice([4, 15, 60, 90] if is_timeless else [4, 15])
        self._event_seconds = random.choice([1, 3, 10])
        self._caller = Caller(loop, self._calls, self._highest)
        self._kept = self._books.snapshot()
        self._copies = Copies()
        self._events = [event for event in self._all_events() if loop.maybe(0.3)]
        self._pods_at_first = random.choice([1, 2, 2, 2, 3, 3, 4, 5])
        if is_timeless and loop.maybe(0.4):  # others take the shares of a pod that is silent
            self._events, self._event_seconds = [self._cut_for_long, self._stand_still_for_long], 20
            self._seconds, self._pace_seconds, self._pods_at_first = 120, 0.5, 2
        windows = {rule.window for rule in self._rules}
        self._is_eager = windows == {Window.MINUTE} and loop.maybe(0.4)
        """Whether apps call only when a minute is over, and then as fast as they can."""
        if self._is_eager:
            self._events, self._seconds, self._pace_seconds = [], 61, 0.01
            self._pods_at_first = 1
            self._rules[0].ceiling = self._rules[0].amount(LARGEST_TOKENS)
            self._network.rate, self._caller.uses_all = 0, True

    @property
    def digest(self) -> str:
        """A hash of the trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def run(self) -> None:
        """Run to the end. Raises BrokenPromiseError, or any other error that should not occur.

        The error has a note with the command that repeats it.
        """
        with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
            self._folder = Path(folder)
            self._pods: list[Pod] = []
            empty_ledger()  # made by a loop of its own
            try:
                self._loop.run_until_complete(self._run())
            except BaseException as error:
                error.add_note(self.command)
                raise
            finally:
                self._loop.over = True
                self._loop.run_until_complete(self._close())
                self._loop.close()

    # The course of a world.

    async def _run(self) -> None:
        for number in range(self._pods_at_first):
            self._add_pod(f"pod {number}").start()
        number = 20 if self._is_eager else self._loop.random.randint(2, 6)
        apps = [self._make_calls() for _ in range(number)]
        await asyncio.gather(*apps, self._maintain(), self._cause_events())
        await self._heal()
        self._check()
        await self._check_progress()
        self._check()
        self._loop.note(f"longest wait {self._caller.longest_seconds:.6f} s")

    async def _close(self) -> None:
        """Close everything, also after an error."""
        for pod in self._pods:
            pod.kill()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.sleep(0.001)

    def _add_pod(self, name: str) -> Pod:
        loop, random = self._loop, self._loop.random
        node = Node(loop, int(random.uniform(-1, 1) * self._offset_seconds * SECOND_US))
        pod = Pod(loop, self._network, self._folder, name, node, Disk(loop, self._disk_rate))
        pod.disk.faults = self.faults
        for rule in self._rules:
            pod.ceilings[rule.name] = rule.ceiling
            self._highest.see_ceiling(rule.name, rule.ceiling)
        self._pods.append(pod)
        return pod

    async def _make_calls(self) -> None:
        loop, random = self._loop, self._loop.random
        largest = random.choice([1, 5, LARGEST_TOKENS])
        home = random.choice(self._pods) if loop.maybe(0.5) else None
        while loop.time() < self._seconds:
            await self._pause()
            pod = home or random.choice(self._pods)
            rules = self._rules if loop.maybe(0.7) else [random.choice(self._rules)]
            ttl_seconds = random.uniform(2, self._ttl_seconds)
            await self._caller.call(pod, rules, random.randint(1, largest), ttl_seconds)

    async def _pause(self) -> None:
        """Wait before the next call."""
        await self._loop.pause(self._pace_seconds)
        second = self._loop.time() % 60
        if self._is_eager and EAGER_SECONDS < second < 60 - EAGER_SECONDS:
            await asyncio.sleep(60 - EAGER_SECONDS - second)

    async def _maintain(self) -> None:
        """Let holds expire, and start again what has crashed."""
        loop = self._loop
        while loop.time() < self._seconds:
            await loop.pause(1)
            pod = loop.random.choice(self._pods)
            if pod.run is None:
                pod.start()
            await self._expire(pod)

    async def _expire(self, pod: Pod) -> None:
        run = pod.run
        if run is not None and run.is_serving:
            try:
                expiry = run.ledger.expire(run.clock())
                await asyncio.wait_for(pod.call(run, expiry), 1)
            except (TimeoutError, DiedError, SidecarError):
                return

    # Events.

    def _all_events(self) -> list[Event]:
        events: list[Event] = [
            self._cut, self._cut_for_long, self._kill, self._lose, self._stop, self._stand_still,
            self._stand_still_for_long, self._copy, self._serve_backup, self._keep, self._fail_over,
            self._replace_server, self._change_policies, self._change_policy, self._adjust,
            self._lose_books,
        ]  # fmt: skip
        return [*events, self._jump] if self._has_jumps else events

    async def _cause_events(self) -> None:
        loop = self._loop
        while self._events:
            await loop.pause(self._event_seconds)
            if loop.time() >= self._seconds:
                return
            event = loop.random.choice(self._events)
            self.faults[event.__name__.strip("_")] += 1
            await event(loop.random.choice(self._pods))

    async def _cut(self, pod: Pod) -> None:
        await self._cut_for(pod, self._loop.random.expovariate(1 / 5))

    async def _cut_for_long(self, pod: Pod) -> None:
        await self._cut_for(pod, self._loop.random.uniform(20, 110))

    async def _cut_for(self, pod: Pod, seconds: float) -> None:
        self._loop.note(f"{pod.name} is cut off for {seconds:.3f} s")
        self._set_cut(pod, is_cut=True)
        self._loop.call_later(seconds, lambda: self._set_cut(pod, is_cut=False))

    def _set_cut(self, pod: Pod, *, is_cut: bool) -> None:
        pod.is_cut = is_cut
        if pod.run is not None:
            pod.run.link.is_cut = is_cut

    async def _lose_books(self, _: Pod) -> None:
        self._loop.note("the books are down")
        self._network.is_down = True
        seconds = self._loop.random.expovariate(1 / 4)
        self._loop.call_later(seconds, setattr, self._network, "is_down", False)

    async def _kill(self, pod: Pod) -> None:
        self._loop.note(f"{pod.name} is killed")
        pod.kill()

    async def _lose(self, pod: Pod) -> None:
        self._loop.note(f"{pod.name} loses its file")
        pod.kill()
        self._leave_file(pod)

    def _leave_file(self, pod: Pod) -> None:
        """Begin with a new file."""
        self._copies.left(pod, pod.files)
        pod.files = {}

    async def _stop(self, pod: Pod) -> None:
        self._loop.note(f"{pod.name} is stopped")
        stopping = self._loop.create_task(pod.stop())
        stopping.add_done_callback(lambda task: task.cancelled() or task.result())

    async def _stand_still(self, pod: Pod) -> None:
        self._stand_still_for(pod, self._loop.random.expovariate(1 / 2))

    async def _stand_still_for_long(self, pod: Pod) -> None:
        self._stand_still_for(pod, self._loop.random.uniform(20, 110))

    def _stand_still_for(self, pod: Pod, seconds: float) -> None:
        if pod.run is not None:
            self._loop.note(f"{pod.name} stands still for {seconds:.3f} s")
            until = self._loop.time() + seconds
            pod.run.stands_still_until = max(until, pod.run.stands_still_until)

    async def _copy(self, pod: Pod) -> None:
        """Serve a copy of a ledger beside it."""
        run = pod.run
        if run is None or not run.is_serving or self._copies.has_copy:
            return
        self._loop.note(f"{pod.name}'s file is copied, and served twice")
        copy = self._add_pod(f"copy of {pod.name}")
        copy.files = read(run.path)
        copy.node.offset_us = pod.node.offset_us
        self._copies.fork(pod, copy, copy.files, run.clock())
        copy.start()

    async def _serve_backup(self, pod: Pod) -> None:
        """Serve an earlier state of a ledger in its place, some time later."""
        run = pod.run
        if run is None or not run.is_serving or self._copies.has_copy:
            return
        self._loop.note(f"{pod.name}'s file is backed up")
        backup = read(run.path)
        self._copies.fork(pod, None, backup, run.clock())
        await self._loop.pause(3)
        self._loop.note(f"{pod.name}'s backup is served")
        pod.kill()
        self._copies.left(pod, pod.files)
        pod.files = backup

    async def _keep(self, _: Pod) -> None:
        self._kept = self._books.snapshot()

    async def _fail_over(self, _: Pod) -> None:
        self._loop.note("another server takes over, and has lost the last exchanges")
        if self._loop.maybe(0.5):  # short before
            self._kept = self._books.snapshot()
            await self._loop.pause(1)
        if self._kept.fleet.timeline:  # books that no holder has ever used cannot know of a loss
            self._books.fail_over(self._kept)

    async def _replace_server(self, _: Pod) -> None:
        self._loop.note("another server takes over")
        self._books.replace_server()

    async def _change_policies(self, _: Pod) -> None:
        rule = self._loop.random.choice(self._rules)
        for pod in self._pods:
            self._set_ceiling(pod, rule, self._new_ceiling(rule))

    async def _change_policy(self, pod: Pod) -> None:
        rule = self._loop.random.choice(self._rules)
        self._set_ceiling(pod, rule, self._new_ceiling(rule))

    def _new_ceiling(self, rule: Rule) -> int:
        return int(rule.ceiling * self._loop.random.choice([0, 0.3, 0.7, 1, 1, 1.5]))

    def _set_ceiling(self, pod: Pod, rule: Rule, ceiling: int) -> None:
        self._loop.note(f"{pod.name}: the ceiling of {rule.name} is {ceiling}")
        pod.ceilings[rule.name] = ceiling

    async def _adjust(self, _: Pod) -> None:
        rule = self._loop.random.choice(self._rules)
        if rule.window in TIMELESS:
            return
        key = self._key(rule)
        amount = int(rule.ceiling * self._loop.random.choice([-0.3, 0.1, 0.5]))
        adjusted = self._books.rows.adjusted
        adjusted[key] = adjusted.get(key, 0) + amount
        self._highest.see_adjusted(key, adjusted[key])
        self._loop.note(f"{rule.name} is adjusted by {amount}")

    async def _jump(self, pod: Pod) -> None:
        seconds = self._loop.random.choice([-3600, -20, -1, 1, 20, 200, 3600])
        self._loop.note(f"{pod.name}'s clock jumps by {seconds} s")
        pod.node.offset_us += seconds * SECOND_US

    # What is checked at the end.

    async def _heal(self) -> None:
        """End all faults, and give each pod that is fenced a new file."""
        self._loop.note("all faults end")
        self._network.rate, self._network.is_down = 0, False
        self._caller.uses_all, self._caller.has_ranks = True, False
        for pod in self._pods:
            pod.disk.rate = 0
            self._set_cut(pod, is_cut=False)
            for rule in self._rules:
                pod.ceilings[rule.name] = rule.ceiling
            run = pod.run
            if run is not None and (run.stands_still_until or not run.is_serving):
                pod.kill()
            if pod.run is None:
                pod.start()
        await asyncio.sleep(SETTLED_SECONDS / 2)
        await asyncio.sleep(self._books.closed_seconds())
        for pod in self._pods:
            if pod.run is None or pod.run.exchanger.problem():
                self._loop.note(
                    f"{pod.name} begins anew: {pod.run and pod.run.exchanger.problem()}"
                )
                pod.kill()
                self._leave_file(pod)
                pod.start()
        await asyncio.sleep(SETTLED_SECONDS / 2)
        await asyncio.sleep(self._books.closed_seconds())

    def _check(self) -> None:
        excess = self._books.write_off() + self._copies.excess()
        self._calls.check(self._highest, excess, sliding=not self._has_jumps)

    async def _check_progress(self) -> None:
        """Where there is room, two calls at the same time are admitted at last."""
        for rule in self._open_rules():
            for pod in self._pods:
                await self._expire(pod)
            await asyncio.sleep(2)
            room, unit = self._room(rule), rule.amount(1)
            tokens = min(LARGEST_TOKENS, room // unit // 2)
            if rule.meter is Meter.REQUESTS:
                tokens = 1 if room > 1 else 0
            await self._probe_twice([rule], tokens, f"{rule.name} has room for {room}")
        rules = self._open_rules()
        await asyncio.sleep(2)
        if all(self._room(rule) >= 2 * rule.amount(1) for rule in rules):
            await self._probe_twice(rules, 1, "all limits have room")

    async def _probe_twice(self, rules: list[Rule], tokens: int, room: str) -> None:
        self._loop.note(room)
        if tokens > 0:
            probes = [self._probe(rules, tokens) for _ in range(2)]
            if not all(await asyncio.gather(*probes)):
                raise BrokenPromiseError(f"progress: {room}, and {tokens} tokens are not admitted")

    async def _probe(self, rules: list[Rule], tokens: int) -> bool:
        pod = self._loop.random.choice(self._pods)
        for _ in range(TRIES):
            if await self._caller.call(pod, rules, tokens, 3600) is Effect.ALLOW:
                return True
            await self._loop.pause(1)
        return False

    def _open_rules(self) -> list[Rule]:
        """Return the rules whose windows are the same at each pod."""
        if not self._has_jumps:
            return self._rules
        return [rule for rule in self._rules if rule.window in (*TIMELESS, Window.TOTAL)]

    def _key(self, rule: Rule) -> BudgetKey:
        """Return the budget of a limit now, by the books' clock."""
        return rule.key(Calendar().span(rule.window, self._loop.clock()).start_us)

    def _room(self, rule: Rule) -> int:
        """Return what no pod uses of a budget, nor has a lost one."""
        key, now_us = self._key(rule), self._loop.clock()
        live = {pod.run.exchanger._holder.uid for pod in self._pods if pod.run}  # noqa: SLF001
        # A copy does not know what its original has asked for last.
        live = set() if self._copies.has_copy else live
        used = sum(
            row.spent + row.held if uid in live else taken(row)
            for uid, row in self._books.rows.shares.get(key, {}).items()
            if counts(key.window, row, now_us)
        )
        return rule.ceiling - self._books.rows.adjusted.get(key, 0) - used
