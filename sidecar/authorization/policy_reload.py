"""Policy reload: valid new files replace the served policy set; invalid ones never do."""

import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import tzinfo
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
"""Problems of one invalid set that are logged, a line each."""

MAX_KEPT = 100
"""Problems of one invalid set in the status."""

RETRY_SECONDS = 60.0
MAX_RETRY_SECONDS = 3600.0
"""Unchanged files are retried, because a load may fail by chance, as on a busy machine."""

SWITCH_SECONDS = 0.0005
"""The interpreter's switch interval while a set compiles, so that decisions are not held up."""


@dataclass(frozen=True, slots=True)
class ReloadSettings:
    """How often to look for changed policies, and which sets may be served."""

    PANEL: ClassVar = "Changing policies"
    seconds: float = setting(
        "--reload-seconds",
        "The interval between two checks for changed policy files. With 0 there are none: reload"
        " them by SIGHUP or `sidecar reload`.",
        default=1.0,
        min=0,
        max=3600,
    )
    trust: TrustSettings = field(default_factory=TrustSettings)


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """The policy set that is served, and the problems of newer files that are not."""

    digest: str
    generation: int
    rules: int
    engine: str
    loaded_at_us: int
    """When it took effect."""
    stale_since_us: int = 0
    """When loading the current files first failed; 0 while the served set is current."""
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a summary in one line."""
        served = f"serving generation {self.generation} ({self.digest[:12]})"
        if not self.stale_since_us:
            return served
        since = to_datetime(self.stale_since_us)
        return f"{served}, stale since {since:%Y-%m-%d %H:%M:%S} UTC because {self.problems[0]}"


class PolicySource:
    """Loads policy sets from a directory, for one engine, share, zone and trust requirement."""

    def __init__(
        self, path: Path, engine: str, share: Share, zone: tzinfo, settings: ReloadSettings
    ) -> None:
        """Create a source. Raises ValueError, which names the flag, for invalid trust settings."""
        self.path = path
        self.seconds = settings.seconds
        self._engine = engine
        self._share = share
        self._zone = zone
        self._requirement: Requirement = open_requirement(settings.trust)
        self._signed_at_us = 0

    def load(self, served: PolicySet | None = None) -> PolicySet:
        """Read and compile the files; return `served` itself if they are still that set.

        Raises PolicyError with all problems.
        """
        return with_timeout(str(self.path), lambda: self._load(served))

    def _load(self, served: PolicySet | None) -> PolicySet:
        files = directory.read(self.path)
        signed_at_us = self._requirement.check(self.path, files, self._signed_at_us)
        loaded = served
        if served is None or files.digest != served.digest or files.problems:
            generation = 1 if served is None else served.generation + 1
            loaded = policy_set.compile_files(
                files, self._engine, generation, self._share, self._zone
            )
        assert loaded is not None, "either served or compiled"
        self._signed_at_us = signed_at_us
        return loaded


class Reloader:
    """Keeps an authorizer on the last valid policy set of a directory."""

    def __init__(self, source: PolicySource, authorizer: Authorizer, wall_clock: Clock) -> None:
        """Start from the set that the authorizer has."""
        self._source = source
        self._authorizer = authorizer
        self._wall_clock = wall_clock
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[PolicyStatus]] = set()
        self._last_stat: fingerprint.DirectoryStat | None = None
        self._loaded_stat: fingerprint.DirectoryStat | None = None
        self._retry_seconds = RETRY_SECONDS
        self._retry_at = 0.0
        self.status = self._current_status(authorizer.policy)
        self.loads = Counter(loaded=1, refused=0)
        """Loads by result; a load that finds the served set unchanged does not count."""

    async def run(self) -> None:
        """Check for changes periodically, until cancelled; return at once if that is off."""
        while self._source.seconds:
            await asyncio.sleep(self._source.seconds)
            try:
                await self.check_for_changes()
            except Exception as error:  # such as no more threads: the next check may work
                log.error("policies: the check for changes failed: %s", type(error).__name__)  # noqa: TRY400 - once a second

    async def check_for_changes(self) -> None:
        """Reload changed files once two checks in a row find them equal, so writing has ended."""
        before = self._last_stat
        stat = await in_thread(lambda: fingerprint.stat_directory(self._source.path))
        self._last_stat = stat
        now = asyncio.get_running_loop().time()
        due = self.status.stale_since_us and now >= self._retry_at
        if stat == before and (stat != self._loaded_stat or due):
            await self.reload()

    async def reload(self) -> PolicyStatus:
        """Load the files and return the new status. Cancelling this does not stop the load."""
        return await asyncio.shield(self.start_reload())

    def start_reload(self) -> "asyncio.Task[PolicyStatus]":
        """Start a task that loads the files."""
        task = asyncio.create_task(self._reload())
        self._tasks.add(task)  # a task needs a reference, or it may be collected
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reload(self) -> PolicyStatus:
        async with self._lock:
            served = self._authorizer.policy
            try:
                # Before the files are read, so that a change while they load is found later.
                self._loaded_stat = await in_thread(
                    lambda: fingerprint.stat_directory(self._source.path)
                )
                with _short_switch_interval():
                    loaded = await in_thread(lambda: self._source.load(served))
            except Exception as error:  # after any error the served set stays
                self._refuse(error)
            else:
                self._accept(loaded)
            return self.status

    def _accept(self, loaded: PolicySet) -> None:
        self._retry_seconds = RETRY_SECONDS
        if loaded is self._authorizer.policy:
            if self.status.stale_since_us:
                self.status = replace(self.status, stale_since_us=0, problems=())
                log.info("policies: %s; the files are valid and unchanged again", self.status)
            return
        self.loads["loaded"] += 1
        self._authorizer.policy = loaded
        warn_of_share(loaded)
        self.status = self._current_status(loaded)
        log.info("policies: %s, %d rules", self.status, self.status.rules)

    def _refuse(self, error: Exception) -> None:
        self.loads["refused"] += 1
        problems = _texts(error)
        known = problems == self.status.problems
        if not known:
            self._retry_seconds = RETRY_SECONDS
        self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
        since_us = self.status.stale_since_us or self._wall_clock()
        self.status = replace(self.status, stale_since_us=since_us, problems=problems)
        if known:
            return
        log.error("policies: the new files are invalid; %s", self.status)
        for problem in problems[:MAX_LOGGED]:
            log.error("policies: %s", problem)
        if len(problems) > MAX_LOGGED:
            log.error(
                "policies: more problems; `sidecar check %s` lists them all", self._source.path
            )

    def _current_status(self, policy: PolicySet) -> PolicyStatus:
        return PolicyStatus(
            digest=policy.digest,
            generation=policy.generation,
            rules=len(policy.rules),
            engine=policy.engine.name,
            loaded_at_us=self._wall_clock(),
        )


def warn_of_share(policy: PolicySet) -> None:
    """Log this sidecar's share, and each limit whose share is 0."""
    if policy.share == WHOLE:
        return
    log.info("ceilings are divided between sidecars: this one has %s", policy.share)
    for rule, ceiling in limits_without_room(policy):
        log.warning(
            "limit %s: %s of its ceiling %d is 0, so every call is denied",
            rule.id,
            policy.share,
            ceiling,
        )


def _texts(error: Exception) -> tuple[str, ...]:
    """Return each problem in one line."""
    if not isinstance(error, PolicyError):  # a bug, or the machine's
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
def _short_switch_interval() -> Iterator[None]:
    """Make threads take turns more often.

    A decision passes through several threads, and each waits until the compiling one gives way.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def in_thread(work: Callable[[], T]) -> T:
    """Run slow work in a daemon thread, which a shutdown does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # set when there is no error

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # the caller gets any error
            failure = error
        except BaseException as error:  # it would end the event loop itself
            failure = RuntimeError(type(error).__name__)
        with suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name="policies", daemon=True).start()
    return await future
