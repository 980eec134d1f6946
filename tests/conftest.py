"""Fixtures for all tests, and the seeds of the property tests."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import policies
from support.authorizer_harness import AuthorizerHarness
from support.sidecar_process import RunningSidecar
from support.tools import pytest_terminal_summary

from sidecar.policy.cel.cel_python import CelPythonEngine

# In CI the same examples run each time, so that a landing never depends on luck;
# `make property` runs many others, drawn at random.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    "print_blob": True,
}
settings.register_profile("fixed", derandomize=True, database=None, max_examples=60, **_COMMON)
settings.register_profile("long", max_examples=3000, **_COMMON)
settings.load_profile("fixed")

TESTS = Path(__file__).parent

HALF_HOUR_SECONDS = 1800
"""Windows begin with an hour of their time zone: of some, that is half past."""
LONGEST_TEST_SECONDS = 10
"""Of those in which a real sidecar's budgets are used up."""

__all__ = ["pytest_terminal_summary"]

CelPythonEngine()  # celpy sets the recursion limit, which Hypothesis minds in mid-test

os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of parallel tests: two for each core, since tests mostly wait."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the sample programs: one takes minutes to build, and at the end would run alone."""
    items.sort(key=lambda item: not item.path.is_relative_to(TESTS / "clients"))


def pytest_runtest_setup() -> None:
    """Begin no test shortly before an hour ends: what it uses up would have room again."""
    rest_seconds = HALF_HOUR_SECONDS - time.time() % HALF_HOUR_SECONDS
    if rest_seconds < LONGEST_TEST_SECONDS:
        time.sleep(rest_seconds)


@pytest.fixture(params=["cel-cpp", "cel-python"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each of the two evaluators of CEL in turn."""
    return str(request.param)


@pytest.fixture
def open_harness(tmp_path: Path) -> Iterator[Callable[..., AuthorizerHarness]]:
    """Open harnesses: an authorizer and a real ledger, in this process."""
    opened: list[AuthorizerHarness] = []

    def open_one(directory: Path | None = None, **kwargs: Any) -> AuthorizerHarness:
        ledger = kwargs.pop("ledger", tmp_path / f"ledger{len(opened)}.sqlite")
        opened.append(AuthorizerHarness(directory or policies.SHIPPED, ledger, **kwargs))
        return opened[-1]

    yield open_one
    for harness in opened:
        if not harness.loop.is_closed():
            harness.close()


@pytest.fixture
def start_sidecar(tmp_path: Path) -> Iterator[Callable[..., RunningSidecar]]:
    """Start real sidecars, stopped at the end of the test."""
    started: list[RunningSidecar] = []

    def start(directory: Path | None = None, *args: str, **kwargs: Any) -> RunningSidecar:
        ledger = kwargs.pop("ledger", tmp_path / "ledger.sqlite")
        one = RunningSidecar(directory or policies.SHIPPED, ledger, args, **kwargs)
        started.append(one)
        return one.start()

    yield start
    for one in started:
        if one.process is not None and one.process.returncode is None:
            one.stop()


@pytest.fixture(scope="module")
def shared_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One real sidecar on the shipped policies, for all tests of a module."""
    ledger = tmp_path_factory.mktemp("shared") / "ledger.sqlite"
    one = RunningSidecar(policies.SHIPPED, ledger).start()
    yield one
    assert one.stop() == 0
