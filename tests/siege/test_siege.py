"""The siege, short and with fixed seeds: `make siege` attacks for longer, and at random."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.sidecar_process import RunningSidecar, chat, tester

from siege import attack_tests
from siege.attack import Attack, Fuzzer
from siege.catalogue import ATTACKS
from siege.frames import UnfinishedRequests
from siege.honest_caller import HONEST
from siege.siege import besiege

ROOT = Path(__file__).parents[2]
SEED = 15
INPUTS = {
    "tokens": 150,
    "bodies behind Envoy": 150,
    "unfinished requests": 2,
    "frames": 200,
    "denials": 15,
    "streams": 100,
    "connections": 150,
    "HTTP requests": 300,
    "evaluations": 200,
    "headers of calls": 40,
    "messages": 400,
    "policy files": 25,
}
"""For each kind of hostile input, how many take a few seconds."""
FUZZERS = [fuzzer for attack in ATTACKS for fuzzer in attack.fuzzers]


@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.name)
def test_hostile_inputs_change_nothing_for_an_honest_caller(
    fuzzer: type[Fuzzer], tmp_path: Path
) -> None:
    """Each of its answers is right to the last unit, and the sidecar is whole afterwards."""
    outcome = besiege(fuzzer, tmp_path, SEED, inputs=INPUTS[fuzzer.name])
    assert outcome.faults == []
    assert outcome.inputs == INPUTS[fuzzer.name]
    assert outcome.honest_calls > 0


class _Thief(Fuzzer):
    """Spends from the budget of the honest caller."""

    name = "thief"
    parameters = "one call"

    def attack(self, sidecar: RunningSidecar) -> Iterator[None]:
        """Call in its name."""
        while True:
            request = chat(tester(id=HONEST), model="small-1")
            assert sidecar.stub.Authorize(request).effect == pb.EFFECT_ALLOW
            yield


def test_a_call_that_is_not_its_own_is_noticed_by_the_honest_caller(tmp_path: Path) -> None:
    """So the siege sees what an attack does to a budget."""
    (fault,) = besiege(_Thief, tmp_path, SEED, inputs=1000).faults
    assert fault.startswith("honest call")


def test_a_sidecar_that_needs_more_memory_than_it_may_have_is_noticed(tmp_path: Path) -> None:
    """The kernel gives it no more, as in a container, so it ends."""
    outcome = besiege(UnfinishedRequests, tmp_path, SEED, inputs=50, memory_bytes=50 * 2**20)
    assert any(fault.startswith("exit code") for fault in outcome.faults), outcome.faults


TESTS = """
import unittest

import pytest

@pytest.mark.parametrize("by", ["land", "sea"])
def test_what_falls(by):
    assert by == "land"

def test_what_holds():
    pass

def test_what_is_not_there():
    raise unittest.SkipTest("no wall")
"""


def test_a_test_that_fails_is_a_fall_and_a_skipped_one_no_victory(tmp_path: Path) -> None:
    """So `make siege ONLY=14` does not say of a broken sidecar that it held."""
    file = tmp_path / "test_walls.py"
    file.write_text(TESTS)
    results = attack_tests.run(Attack(1, "walls", "by land and sea", (str(file),)))
    assert [(result.title, result.shown_cases, result.verdict) for result in results] == [
        ("what falls", "land, sea", "fell"),
        ("what holds", "1", "held"),
        ("what is not there", "1", "skipped: no wall"),
    ]
    assert [fault.partition(":")[0] for fault in results[0].faults] == ["test_what_falls[sea]"]


def test_tests_that_cannot_be_run_are_a_fall(tmp_path: Path) -> None:
    """Such as those of a file that is gone."""
    (result,) = attack_tests.run(Attack(1, "walls", "", (str(tmp_path / "test_gone.py"),)))
    assert result.verdict == "fell"


def test_the_attacks_are_numbered_and_each_test_of_theirs_exists() -> None:
    """A test that is renamed would silently be no part of an attack any more."""
    assert [attack.number for attack in ATTACKS] == list(range(1, 25))
    for attack in ATTACKS:
        assert attack.parameters
        assert attack.tests
        for node in attack.tests:
            file, _, test = node.partition("::")
            text = (ROOT / file).read_text()
            assert not test or f"\ndef {test}(" in text, node
