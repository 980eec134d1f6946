"""A rotation that is killed anywhere leaves a key that works. `make rotations` shows the table."""

import pytest

from rotations.crashes import all_crashes

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_a_rotation_killed_anywhere_leaves_a_key_that_works_and_ends(part: int) -> None:
    """`kill -9` before and after every transaction, rename and request of a rotation and a rollback.

    At every moment the app's key works, and at most one more exists. At the end one key
    exists, apps find it, the ledger says so, and no other file contains a secret.
    """
    results = list(all_crashes(part, PARTS))
    assert [(str(one.crash_point), one.then, one.faults) for one in results if one.faults] == []
    assert len(results) > 10
