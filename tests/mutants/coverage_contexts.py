"""A plugin of pytest: coverage notes each line with the test that runs it, fixtures included."""

from collections.abc import Iterator

import coverage
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the lines that are run for a test after it, without its parameters."""
    measuring = coverage.Coverage.current()
    assert measuring is not None, "coverage has to run pytest"
    measuring.switch_context(item.nodeid.partition("[")[0])
    yield
    measuring.switch_context("")
