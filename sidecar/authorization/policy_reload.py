"""Policies change while it runs: a good set takes the place of the last, a bad one never does."""

import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeVar

from sidecar.authorization.authorizer import Authorizer
from sidecar.domain.clock import Clock, to_datetime
from sidecar.domain.flags import setting
from sidecar.domain.share import WHOLE, Share
from sidecar.policy import policy_set
from sidecar.policy.files import directory, fingerprint
from sidecar.policy.files.problems import PolicyError
from sidecar.policy.files.timeout import with_timeout
from sidecar.policy.policy_set import PolicySet
from sidecar.policy.static_values import limits_without_room
from sidecar.policy.trust.requirement import Requirement, TrustSettings, open_requirement

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_LOGGED = 20
"""Problems of one bad set in the log, a line each."""

MAX_KEPT = 100
"""Problems of one bad set in the status."""

TRY_AGAIN_SECONDS = 60.0
MAX_TRY_AGAIN_SECONDS = 3600.0
"""A set that failed and does not change may fail by chance, as when the machine is too busy."""

SWITCH_SECONDS = 0.0005
"""How long the thread that compiles may keep the interpreter from the decisions."""


@dataclass(frozen=True, slots=True)
class ReloadSettings:
    """How often to look for changed policies, and which sets may be served."""

    PANEL: ClassVar = "Changing policies"
    seconds: float = setting(
        "--reload-seconds",
        "How often to look for changed policies; 0 is only on SIGHUP.",
        default=1.0,
        min=0,
        max=3600,
    )
    trust: TrustSettings = field(default_factory=TrustSettings)


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """Which set is served, and what is wrong with the files if they are no longer that set."""

    digest: str
    generation: int
    rules: int
    engine: str
    loaded_at_us: int
    """When it took effect."""
    stale_since_us: int = 0
    """When the files were first found to be no set that may be served; 0 while they are."""
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one line."""
        served = f"serving generation {self.generation} ({self.digest[:12]})"
        if not self.stale_since_us:
            return served
        since = to_datetime(self.stale_since_us)
        return f"{served}, stale since {since:%Y-%m-%d %H:%M:%S} UTC because {self.problems[0]}"


class PolicySource:
    """The policy directory, the evaluator for it, and what its sets have to be."""

    def __init__(self, path: Path, engine: str, share: Share, settings: ReloadSettings) -> None:
        """Raise ValueError, which names the flag, when what is required makes no sense."""
        self.path = path
        self.seconds = settings.seconds
        self._engine = engine
        self._share = share
        self._requirement: Requirement = open_requirement(settings.trust)
        self._signed_at_us = 0

    def load(self, served: PolicySet | None = None) -> PolicySet:
        """Read and compile what is there now; if that is the set that is served, return that.

        Raises PolicyError with all that is wrong.
        """
        return with_timeout(str(self.path), lambda: self._load(served))

    def _load(self, served: PolicySet | None) -> PolicySet:
        files = directory.read(self.path)
        signed_at_us = self._requirement.check(self.path, files, self._signed_at_us)
        loaded = served
        if served is None or files.digest != served.digest or files.problems:
            generation = 1 if served is None else served.generation + 1
            loaded = policy_set.compile_files(files, self._engine, generation, self._share)
        assert loaded is not None, "either served or compiled"
        self._signed_at_us = signed_at_us
        return loaded


class Reloader:
    """Keeps an authorizer on the last good set of a directory."""

    def __init__(self, source: PolicySource, authorizer: Authorizer, wall_clock: Clock) -> None:
        """Begin with the set that the authorizer has."""
        self._source = source
        self._authorizer = authorizer
        self._wall_clock = wall_clock
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[PolicyStatus]] = set()
        self._seen: fingerprint.DirectoryStat | None = None
        self._tried: fingerprint.DirectoryStat | None = None
        self._try_again_seconds = TRY_AGAIN_SECONDS
        self._try_again_at = 0.0
        self.status = self._fresh(authorizer.policy)
        self.loads = Counter(loaded=1, refused=0)
        """How loads ended, but for those that found what is served."""

    async def run(self) -> None:
        """Look again and again, until cancelled. 0 seconds is never."""
        while self._source.seconds:
            await asyncio.sleep(self._source.seconds)
            try:
                await self.look()
            except Exception as error:  # such as no more threads: there is a next time
                log.error("policies: looking for changes failed: %s", type(error).__name__)  # noqa: TRY400 - once a second

    async def look(self) -> None:
        """Load what has changed, once it is the same in two looks: nobody writes any more."""
        seen, before = (
            await in_thread(lambda: fingerprint.stat_directory(self._source.path)),
            self._seen,
        )
        self._seen = seen
        now = asyncio.get_running_loop().time()
        due = self.status.stale_since_us and now >= self._try_again_at
        if seen == before and (seen != self._tried or due):
            await self.reload()

    async def reload(self) -> PolicyStatus:
        """Load what is there now, and say how that went. Whoever stops waiting stops nothing."""
        return await asyncio.shield(self.soon())

    def soon(self) -> "asyncio.Task[PolicyStatus]":
        """Begin to load what is there now."""
        task = asyncio.create_task(self._reload())
        self._under_way.add(task)  # or nobody may hold it
        task.add_done_callback(self._under_way.discard)
        return task

    async def _reload(self) -> PolicyStatus:
        async with self._one_at_a_time:
            served = self._authorizer.policy
            try:
                self._tried = await in_thread(lambda: fingerprint.stat_directory(self._source.path))
                with _others_first():
                    loaded = await in_thread(lambda: self._source.load(served))
            except Exception as error:  # whatever it is, the set that is served stays
                self._refuse(error)
            else:
                self._accept(loaded)
            return self.status

    def _accept(self, loaded: PolicySet) -> None:
        self._try_again_seconds = TRY_AGAIN_SECONDS
        if loaded is self._authorizer.policy:
            if self.status.stale_since_us:
                self.status = replace(self.status, stale_since_us=0, problems=())
                log.info("policies: %s; the files are that set again", self.status)
            return
        self.loads["loaded"] += 1
        self._authorizer.policy = loaded
        warn_of_share(loaded)
        self.status = self._fresh(loaded)
        log.info("policies: %s, %d rules", self.status, self.status.rules)

    def _refuse(self, error: Exception) -> None:
        self.loads["refused"] += 1
        self._try_again_at = asyncio.get_running_loop().time() + self._try_again_seconds
        self._try_again_seconds = min(2 * self._try_again_seconds, MAX_TRY_AGAIN_SECONDS)
        problems = _texts(error)
        known = problems == self.status.problems
        since_us = self.status.stale_since_us or self._wall_clock()
        self.status = replace(self.status, stale_since_us=since_us, problems=problems)
        if known:
            return
        self._try_again_seconds = TRY_AGAIN_SECONDS
        log.error("policies: the files cannot be used; %s", self.status)
        for problem in problems[:MAX_LOGGED]:
            log.error("policies: %s", problem)
        if len(problems) > MAX_LOGGED:
            log.error("policies: and more; `sidecar check %s` says them all", self._source.path)

    def _fresh(self, policy: PolicySet) -> PolicyStatus:
        return PolicyStatus(
            digest=policy.digest,
            generation=policy.generation,
            rules=len(policy.rules),
            engine=policy.engine.name,
            loaded_at_us=self._wall_clock(),
        )


def warn_of_share(policy: PolicySet) -> None:
    """Log what the share of the ceilings leaves nothing of."""
    if policy.share == WHOLE:
        return
    log.info("every ceiling is divided: this sidecar has %s", policy.share)
    for rule, ceiling in limits_without_room(policy):
        log.warning(
            "limit %s: %s of its ceiling %d is 0: every call is refused",
            rule.id,
            policy.share,
            ceiling,
        )


def _texts(error: Exception) -> tuple[str, ...]:
    """Write each problem in one line."""
    if not isinstance(error, PolicyError):  # a fault of ours, or of the machine
        return (f"loading failed: {type(error).__name__}",)
    texts = [
        f"{problem.file}:{problem.line}:{problem.column}: {problem.message}"
        if problem.line
        else f"{problem.file}: {problem.message}"
        for problem in error.problems[:MAX_KEPT]
    ]
    if len(error.problems) > MAX_KEPT:
        texts.append(f"and {len(error.problems) - MAX_KEPT} more")
    return tuple(texts)


@contextmanager
def _others_first() -> Iterator[None]:
    """Let a thread that computes give way soon: a decision takes several turns of others."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that takes a while in a thread that the stop does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # it is one, without an error

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # it is the caller's, whatever it is
            failure = error
        except BaseException as error:  # which would end the loop itself
            failure = RuntimeError(type(error).__name__)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="policies", daemon=True).start()
    return await future
