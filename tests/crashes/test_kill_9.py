"""L4: a response survives kill -9. `make crashes` does this hundreds of times."""

from contextlib import closing
from pathlib import Path

from crashes.crash_run import CrashRun


def test_l4_five_kills_under_load_lose_nothing_and_charge_nothing_twice(tmp_path: Path) -> None:
    """L4: every Allow and Settle with a response is on disk, and a repeat gets the same response.

    The sidecar is killed under load, during its start, and while clients repeat the calls
    without a response. Afterwards every budget equals the sum of the responses.
    """
    with closing(CrashRun(tmp_path, seed=4)) as crash_run:
        assert list(crash_run.run(kills=5)) == [1, 2, 3, 4, 5]
    assert crash_run.faults == []
    assert sum(call.charged is not None for call in crash_run.clients.calls) > 50
    assert crash_run.clients.repeated_unanswered > 0
