"""L4: a response survives kill -9. `make crashes` does this hundreds of times."""

from contextlib import closing
from pathlib import Path

from crashes.siege import Siege


def test_l4_five_deaths_under_load_lose_nothing_and_charge_nothing_twice(tmp_path: Path) -> None:
    """L4: every Allow and Settle with a response is on disk, and a repeat gets the same response.

    One ledger, killed under load, in the middle of its start, and while clients ask
    again for what they were not told; every budget equals the clients' own books.
    """
    with closing(Siege(tmp_path, seed=4)) as siege:
        assert list(siege.run(kills=5)) == [1, 2, 3, 4, 5]
    assert siege.faults == []
    assert sum(call.charged is not None for call in siege.crowd.calls) > 50
    assert siege.crowd.asked_again > 0
