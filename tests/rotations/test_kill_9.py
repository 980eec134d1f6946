"""A rotation that is killed anywhere leaves a key that works. `make rotations` shows the table."""

import pytest

from rotations.deaths import all_deaths

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_a_rotation_killed_anywhere_leaves_a_key_that_works_and_ends(part: int) -> None:
    """`kill -9` around every transaction, rename and request; forward, and back.

    At every moment the app's key works and at most one more exists; at the end there is
    one, apps find it, the ledger says so, and no secret is in any other file.
    """
    seen = list(all_deaths(part, PARTS))
    assert [(str(one.death), one.then, one.faults) for one in seen if one.faults] == []
    assert len(seen) > 10
