"""The list of mutants keeps up with the source. `make mutants` runs the tests on each."""

import ast
from pathlib import Path

import pytest

import sidecar
from mutants.catalogue import ALL
from mutants.mutant import Mutant

SIDECAR = Path(sidecar.__file__).parent


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_mutant_still_changes_the_source_in_one_place(mutant: Mutant) -> None:
    """What it replaces is there exactly once, and what it leaves is a program."""
    ast.parse(mutant.apply(SIDECAR))


def test_every_promise_has_several_mutants() -> None:
    """L1 to L9, A1, A2, U1 and K1 to K3 are each broken in several ways; no two mutants share a name."""
    promises = [mutant.promise for mutant in ALL]
    kept = [*(f"L{number}" for number in range(1, 10)), "A1", "A2", "U1", "K1", "K2", "K3"]
    assert all(promises.count(promise) > 1 for promise in kept)
    assert len({mutant.name for mutant in ALL}) == len(ALL)
