"""Policies change while a real sidecar runs: a good set always takes effect, a bad one never."""

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.configmap import ConfigMap, texts
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, recorded, stub, tester

from sidecar.policy import policy_set
from sidecar.policy.files import directory

Start = Callable[..., RunningSidecar]

OFTEN = ("--reload-seconds", "0.05")
CEILING = 1_000_000_000

BAD: list[dict[str, str]] = [
    {"broken.cel": "this is no rule"},
    {"broken.cel": deny("request.tokens >")},
    {"broken.cel": deny("request.no_such_field == 1")},
    {"broken.yaml": "roles: [1, 2"},
    {"roles.yaml": "roles: {tester: {allowed_models: []}}"},
    {"broken.txt": "is neither"},
    {"broken.cel": deny('spend["gone"].used > 1')},
    {"broken.cel": "\x00\x01"},
]


def version(folder: Path, number: int) -> dict[str, str]:
    """Write a set whose ceiling, message and rules identify its version."""
    rules = {
        "daily": limit(str(CEILING + number), meter="tokens"),
        "small": deny("request.tokens > 500", message=f"version {number}"),
        f"only_{number}": deny("false"),
    }
    return texts(minimal(folder / f"version-{number}", **rules))


def digest_of(folder: Path, files: Mapping[str, str]) -> str:
    """Return the digest that answers carry."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return directory.read(folder).digest


def served(sidecar: RunningSidecar) -> tuple[str, int]:
    """Return digest and generation of the set that is served."""
    answer = sidecar.stub.GetBudgets(pb.GetBudgetsRequest(principal=tester()))
    return answer.policy_digest, answer.policy_generation


class Watcher:
    """Clients that call without a pause, and note what each answer says of its policies."""

    def __init__(self, address: str, clients: int) -> None:
        """Start."""
        self.seen: set[tuple[str, int, int]] = set()
        self.calls = 0
        self.failures: list[Exception] = []
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(address, number)) for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, address: str, number: int) -> None:
        own = stub(address)
        try:
            while not self._ended.is_set():
                for call in (self._allowed, self._denied, self._budgets):
                    self.seen.add(call(own))
                    self.calls += 1
                if number == 0:
                    self.seen |= self._explained(own)
        except Exception as error:
            self.failures.append(error)

    def _allowed(self, own: Any) -> tuple[str, int, int]:
        answer = own.Authorize(chat(tester(), model="small-1"), timeout=30)
        assert answer.effect == pb.EFFECT_ALLOW
        own.Settle(pb.SettleRequest(hold_id=answer.hold_id, usage=pb.Usage(input_tokens=1)))
        (budget,) = answer.budgets
        return answer.policy_digest, answer.policy_generation, budget.ceiling - CEILING

    def _denied(self, own: Any) -> tuple[str, int, int]:
        request = chat(tester(), model="small-1", estimate={"max_output_tokens": 900})
        answer = own.Authorize(request, timeout=30)
        assert [reason.rule for reason in answer.reasons] == ["small"]
        version = int(answer.reasons[0].message.removeprefix("version "))
        return answer.policy_digest, answer.policy_generation, version

    def _budgets(self, own: Any) -> tuple[str, int, int]:
        answer = own.GetBudgets(pb.GetBudgetsRequest(principal=tester()), timeout=30)
        (budget,) = answer.budgets
        return answer.policy_digest, answer.policy_generation, budget.ceiling - CEILING

    def _explained(self, own: Any) -> set[tuple[str, int, int]]:
        request = chat(tester(), model="small-1", estimate={"max_output_tokens": 900})
        answer = own.Explain(pb.ExplainRequest(request=request), timeout=30)
        decision = answer.decision
        (only,) = (rule.rule for rule in answer.rules if rule.rule.startswith("only-"))
        versions = {int(only.removeprefix("only-")), _ceiling(answer)}
        return {(decision.policy_digest, decision.policy_generation, number) for number in versions}

    def end(self) -> None:
        """Stop, and raise the error of any failed call."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == []


def _ceiling(answer: pb.ExplainResponse) -> int:
    (value,) = (rule.value for rule in answer.rules if rule.rule == "daily")
    return int(re.sub(r"\D", "", value)) - CEILING


SWAPS = int(os.environ.get("SWAPS", "24"))


def test_each_answer_under_load_is_of_exactly_one_version(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """A ConfigMap is swapped as the kubelet does, every other time to a set that is bad."""
    versions = [version(tmp_path, number) for number in range(6)]
    digests = [directory.read(tmp_path / f"version-{n}").digest for n in range(6)]
    mounted = ConfigMap(tmp_path / "volume", versions[0])
    sidecar = start_sidecar(mounted.volume, *OFTEN)
    watcher = Watcher(sidecar.addresses[0], 4)
    expected = {(digests[0], 1, 0)}
    for swap in range(1, SWAPS + 1):
        number = swap % 6
        mounted.update({**versions[number], **BAD[swap % len(BAD)]})
        if swap % 3 == 0:  # long enough to be looked at, and refused
            threading.Event().wait(0.3)
        mounted.update(versions[number])
        eventually(lambda n=number, g=swap + 1: served(sidecar) == (digests[n], g), 60)
        expected.add((digests[number], swap + 1, number))
    watcher.end()
    assert watcher.seen - expected == set()
    assert watcher.calls > SWAPS
    sidecar.stop()
    assert "the new files are invalid" in sidecar.log
    assert f"serving generation {SWAPS + 1} " in sidecar.log


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_set_never_takes_effect_and_is_logged_once(
    bad: dict[str, str], start_sidecar: Start, tmp_path: Path
) -> None:
    """Also after many checks; when the earlier files return, the status is fresh, without a new generation."""
    good = version(tmp_path, 0)
    mounted = ConfigMap(tmp_path / "volume", good)
    sidecar = start_sidecar(mounted.volume, *OFTEN)
    before = served(sidecar)
    mounted.update({**good, **bad})
    threading.Event().wait(1)
    assert before == served(sidecar)
    mounted.update(good)
    threading.Event().wait(0.5)
    assert before == served(sidecar)
    sidecar.stop()
    assert sidecar.log.count("the new files are invalid") == 1
    assert sidecar.log.count("the files are valid and unchanged again") == 1
    assert re.search(r"policies: (broken|roles)\.\w+\S*: ", sidecar.log)
    assert "stale since" in sidecar.log


def test_many_problems_are_some_lines_in_the_log(start_sidecar: Start, tmp_path: Path) -> None:
    """A thousand rules that are wrong do not fill the log."""
    path = minimal(tmp_path / "p")
    sidecar = start_sidecar(path, *OFTEN)
    for number in range(300):
        (path / f"x-{number}.cel").write_text("nothing")
    threading.Event().wait(2)
    sidecar.stop()
    assert sidecar.log.count("x-1") > 0
    assert "`sidecar check" in sidecar.log
    assert len(sidecar.log.splitlines()) < 100


def _vanish(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def _close(path: Path) -> None:
    file = path / "roles.yaml"
    file.unlink()
    file.symlink_to("roles.yaml")  # root reads whatever its mode is


def _crowd(path: Path) -> None:
    for number in range(1001):
        (path / f"note-{number}.md").write_text("")


def _bomb(path: Path) -> None:
    slow = "roles:\n" + "".join(f"  r{n}: {{allowed_models: []}}\n" for n in range(2_000))
    (path / "slow.yaml").write_text(slow)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (_vanish, "cannot be read: No such file or directory"),
        (_close, "roles.yaml: is not a regular file"),
        (_crowd, "has more than 1000 files"),
        (_bomb, "slow.yaml:2:3: 'daily_token_budget' is missing"),
        (lambda path: (path / "models.yaml").write_text("models:\n  small-1: {fam"), "models.yaml"),
        (lambda path: (path / "daily.cel").write_bytes(b"\xff\xfe"), "daily.cel: is not UTF-8"),
        (lambda path: os.mkfifo(path / "pipe.cel"), "pipe.cel: is not a regular file"),
    ],
)  # fmt: skip
def test_harm_to_a_plain_directory_leaves_the_last_good_set(
    harm: Callable[[Path], object], expected: str, start_sidecar: Start, tmp_path: Path
) -> None:
    """Decisions go on, the log says why, and the repaired directory takes effect."""
    version(tmp_path, 0)
    path = tmp_path / "version-0"
    sidecar = start_sidecar(path, *OFTEN)
    before = served(sidecar)
    harm(path)
    threading.Event().wait(3)
    assert before == served(sidecar)
    assert sidecar.stub.Authorize(chat(tester(), model="small-1")).hold_id
    whole = tmp_path / "whole"
    version(tmp_path, 1)
    (tmp_path / "version-1").rename(whole)
    if path.exists():
        path.rename(tmp_path / "harmed")
    whole.rename(path)
    eventually(lambda: served(sidecar) == (directory.read(path).digest, 2), 60)
    sidecar.stop()
    assert expected in sidecar.log


def test_a_directory_written_file_by_file_is_loaded_when_it_is_complete(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """Sets that would load, but are only half written, are not loaded."""
    path = minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))
    sidecar = start_sidecar(path, "--reload-seconds", "0.5")
    watcher = set()
    for number in range(30):
        (path / f"more-{number}.cel").write_text(deny("false"))
        watcher.add(served(sidecar)[1])
        threading.Event().wait(0.1)
    eventually(lambda: served(sidecar)[0] == directory.read(path).digest, 60)
    assert watcher == {1}
    assert served(sidecar)[1] == 2


def test_sighup_reloads_also_with_reload_seconds_0(start_sidecar: Start, tmp_path: Path) -> None:
    """--reload-seconds 0 never checks for changes; the signal reloads."""
    path = minimal(tmp_path / "p")
    sidecar = start_sidecar(path, "--reload-seconds", "0")
    (path / "more.cel").write_text(deny("false"))
    threading.Event().wait(0.5)
    assert served(sidecar)[1] == 1
    assert sidecar.process is not None
    sidecar.process.send_signal(signal.SIGHUP)
    eventually(lambda: served(sidecar) == (policy_set.load(path).digest, 2), 60)


def test_a_ceiling_that_goes_down_counts_what_is_spent_already(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L1 L8: at once, without a new window; and a rule that went away comes back with its past."""
    path = minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))
    sidecar = start_sidecar(path, *OFTEN)

    def rewrite(text: str | None) -> None:
        generation = served(sidecar)[1]
        (path / "daily.cel").unlink(missing_ok=True)
        if text is not None:
            (path / "daily.cel").write_text(text)
        eventually(lambda: served(sidecar)[1] == generation + 1, 60)

    def call() -> pb.AuthorizeResponse:
        answer: pb.AuthorizeResponse = sidecar.stub.Authorize(chat(tester(), model="small-1"))
        return answer

    assert [call().effect, call().effect] == [pb.EFFECT_ALLOW] * 2
    rewrite(limit("500", meter="tokens"))
    answer = call()
    assert (answer.effect, answer.budgets[0].remaining) == (pb.EFFECT_DENY, 100)
    rewrite(limit("100", meter="tokens"))
    answer = call()
    assert (answer.effect, answer.budgets[0].remaining) == (pb.EFFECT_DENY, 0)
    rewrite(None)
    answer = call()
    assert (answer.effect, list(answer.budgets)) == (pb.EFFECT_ALLOW, [])
    rewrite(limit("700", meter="tokens"))
    (budget,) = call().budgets
    assert (budget.held, budget.remaining) == (600, 100)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"meter": "tokens"}, {"meter": "requests"}),
        ({"window": "day"}, {"window": "minute"}),
        ({"window": "hour"}, {"window": "concurrent"}),
        ({"per": "workspace.name"}, {"per": "principal.id"}),
    ],
)
def test_l6_a_limit_that_becomes_another_settles_what_it_held(
    before: dict[str, str], after: dict[str, str], start_sidecar: Start, tmp_path: Path
) -> None:
    """L2 L6: a hold of the old rule settles in its budget; the new rule counts from 0."""
    path = minimal(tmp_path / "p", daily=limit("100000", **before))
    sidecar = start_sidecar(path, *OFTEN)
    hold = sidecar.stub.Authorize(chat(tester(), model="small-1")).hold_id
    (path / "daily.cel").write_text(limit("100000", **after))
    eventually(lambda: served(sidecar)[1] == 2, 60)
    assert sidecar.stub.Authorize(chat(tester(), model="small-1")).hold_id
    usage = pb.Usage(input_tokens=3, output_tokens=4)
    charge = sidecar.stub.Settle(pb.SettleRequest(hold_id=hold, usage=usage))
    assert charge.charged_tokens == 7
    sidecar.stop()


def test_l3_a_repeat_after_a_reload_gets_the_first_answer(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L3: with the digest and generation of then, also when the new set would deny."""
    path = minimal(tmp_path / "p")
    sidecar = start_sidecar(path, *OFTEN)
    request = chat(tester(), model="small-1", request_id="r1")
    first = sidecar.stub.Authorize(request)
    (path / "never.cel").write_text(deny("true"))
    eventually(lambda: served(sidecar)[1] == 2, 60)
    assert recorded(first) == recorded(sidecar.stub.Authorize(request))
    assert sidecar.stub.Authorize(chat(tester(), model="small-1")).effect == pb.EFFECT_DENY


def test_the_share_of_every_ceiling_stays_over_a_reload(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """L1: one of two sidecars never has the whole of a new ceiling."""
    path = minimal(tmp_path / "p", daily=limit("1000", meter="tokens"))
    sidecar = start_sidecar(path, *OFTEN, "--share", "1/2")
    (path / "daily.cel").write_text(limit("3000", meter="tokens"))
    eventually(lambda: served(sidecar)[1] == 2, 60)
    (budget,) = sidecar.stub.Authorize(chat(tester(), model="small-1")).budgets
    assert budget.ceiling == 1500
