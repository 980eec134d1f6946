"""The room that a ledger takes is as documented, is used again, and can be given back."""

import os
import random
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import disks
from support.authorizer_harness import AuthorizerHarness, authorizer_harness
from support.commands import sidecar
from support.policies import SHIPPED
from support.sidecar_process import chat, principal

from sidecar.domain.bounds import MAX_ID_BYTES
from sidecar.domain.usage import UsageReport
from sidecar.ledger import ledger_file
from sidecar.ledger.compaction import compact
from sidecar.ledger.denials import DEFAULT_MAX_DENIALS
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.ledger.reserve import BASE_BYTES
from sidecar.ledger.verify import verify

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
MANIFEST = (ROOT / "deploy" / "base" / "statefulset.yaml").read_text(encoding="utf-8")

MAX_WAL_BYTES = 64 * 2**20
RETENTION_DAYS = 35
SECONDS_BETWEEN_CALLS = 3
PAGE_BYTES = 4096

RANDOM = random.Random(0)  # noqa: S311 - ids that are the same in each run
"""Where ids fall in an index decides when its pages split."""


@pytest.fixture(autouse=True)
def same_ids() -> None:
    """Each test has the ids that it has when it is run alone."""
    RANDOM.seed(0)


def unique_id() -> str:
    """Return an id in the form that clients use."""
    return str(uuid.UUID(bytes=RANDOM.randbytes(16), version=4))


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AuthorizerHarness]:
    """The shipped policies, whose limits count all they can."""
    with authorizer_harness(SHIPPED, tmp_path / "ledger.sqlite") as opened:
        yield opened


def decide(harness: AuthorizerHarness, calls: int) -> None:
    """Hold and settle calls as apps make them, one every few seconds."""
    for number in range(calls):
        who = principal(id=f"user-{number % 50}@example.com")
        decision = harness.authorize(chat(who, request_id=unique_id()))
        usage = UsageReport(input_tokens=90, output_tokens=50)
        harness.run(
            harness.authorizer.settle(decision.hold_id, usage, "mistral-small-latest", "ok")
        )
        harness.wait(SECONDS_BETWEEN_CALLS)


def pages(harness: AuthorizerHarness) -> int:
    """Return the size of the file, once its WAL is folded, in pages."""
    ledger: Any = harness.ledger
    return int(ledger._writer.execute("PRAGMA page_count").fetchone()[0])  # noqa: SLF001


def prune(harness: AuthorizerHarness) -> None:
    """Prune all that is older than an hour."""
    while harness.run(harness.ledger.prune(harness.now_us, 3_600_000_000)):
        pass


def documented(pattern: str, text: str = DEPLOY) -> float:
    """Return a number of the documents."""
    found = re.search(pattern, text)
    assert found, pattern
    return float(found[1].replace(",", ""))


def test_a_decision_takes_what_the_documents_say(harness: AuthorizerHarness) -> None:
    """And the calls a day that they promise fit the claim, with the WAL and the reserve."""
    decide(harness, 50)
    before = pages(harness)
    decide(harness, 200)
    measured_bytes = (pages(harness) - before) * PAGE_BYTES / 200
    bytes_each = documented(r"about ([\d,]+) bytes a decision")
    assert 0.85 * bytes_each < measured_bytes <= bytes_each
    claim_bytes = documented(r"storage: (\d+)Gi", MANIFEST) * 2**30
    assert claim_bytes == documented(r"The claim of (\d+) GiB") * 2**30
    calls = documented(r"takes ([\d,]+) calls a day") * RETENTION_DAYS
    assert documented(r"([\d,]+) denials") == DEFAULT_MAX_DENIALS
    denials_bytes = DEFAULT_MAX_DENIALS * documented(r"at most ([\d,]+) with the longest names")
    assert calls * bytes_each + denials_bytes + MAX_WAL_BYTES + BASE_BYTES <= claim_bytes


def usual_denial() -> pb.AuthorizeRequest:
    """A call of a model that the role may not use."""
    who = principal(id=f"user-{RANDOM.randbytes(1).hex()}@example.com", role="analyst")
    return chat(who, model="mistral-large-latest", request_id=unique_id())


def longest_denial() -> pb.AuthorizeRequest:
    """A call whose names are all unknown, as long as they may be, and longer in JSON."""
    names = [unique_id().ljust(MAX_ID_BYTES, '"') for _ in range(6)]
    who = principal(id=names[0], role=names[1], workspace=names[2], key_id=names[3])
    return chat(who, model=names[4], request_id=names[5])


@pytest.mark.parametrize(
    ("pattern", "request_of"),
    [
        (r"about ([\d,]+) bytes a denial", usual_denial),
        (r"at most ([\d,]+) with the longest names", longest_denial),
    ],
)
def test_a_denial_takes_what_the_documents_say(
    harness: AuthorizerHarness, pattern: str, request_of: Callable[[], pb.AuthorizeRequest]
) -> None:
    """With usual names, and with the longest ones, which an attacker can choose."""

    def deny(calls: int) -> None:
        for _ in range(calls):
            assert not harness.authorize(request_of()).hold_id
            harness.wait(SECONDS_BETWEEN_CALLS)

    deny(50)
    before = pages(harness)
    deny(200)
    measured_bytes = (pages(harness) - before) * PAGE_BYTES / 200
    bytes_each = documented(pattern)
    assert 0.85 * bytes_each < measured_bytes <= bytes_each


def test_the_room_of_pruned_decisions_is_used_again(harness: AuthorizerHarness) -> None:
    """So a ledger of constant use has a constant size."""
    decide(harness, 250)
    sizes = []
    for _ in range(3):
        harness.wait(3600)
        prune(harness)
        decide(harness, 249)
        sizes.append(pages(harness))
    assert sizes[-1] <= 1.05 * sizes[0]


def test_compaction_gives_the_room_of_pruned_decisions_back(
    harness: AuthorizerHarness, tmp_path: Path
) -> None:
    """The ledger stays what it was; it says how much room it needs."""
    path = tmp_path / "ledger.sqlite"
    decide(harness, 250)
    harness.wait(3600)
    prune(harness)
    code, _, err = sidecar("ledger", "compact", "--ledger", path)
    assert (code, "another sidecar" in err) == (1, True)
    harness.run(harness.ledger.close())
    before_bytes = path.stat().st_size
    with closing(ledger_file.open_reader(path)) as reader:
        rows = reader.execute("SELECT * FROM budgets").fetchall()
    code, out, err = sidecar("ledger", "compact", "--ledger", path)
    assert (code, "bytes beside it" in out) == (0, True), err
    assert f"before, {before_bytes:,}" in out
    assert path.stat().st_size < before_bytes / 2
    with closing(ledger_file.open_reader(path)) as reader:
        assert verify(reader)[0] == []
        assert reader.execute("SELECT * FROM budgets").fetchall() == rows


def test_a_compaction_without_room_changes_nothing(tmp_path: Path) -> None:
    """It is refused before it begins, with the room that it needs."""
    disk = tmp_path / "disk"
    with disks.small_disk(disk, 8 * 2**20):
        path = disk / "ledger.sqlite"
        with authorizer_harness(SHIPPED, path) as harness:
            decide(harness, 30)
        free_bytes = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "other").write_bytes(bytes(free_bytes - 100_000))
        before = path.read_bytes()
        with pytest.raises(LedgerRefusedError, match=rf"that needs [\d,]+ bytes in {disk}, where"):
            compact(path, lambda _: pytest.fail("it began"))
        assert path.read_bytes() == before


def test_a_compaction_waits_for_no_reader(tmp_path: Path) -> None:
    """A program that reads would keep the old pages; it is refused."""
    path = tmp_path / "ledger.sqlite"
    with authorizer_harness(SHIPPED, path) as harness:
        decide(harness, 3)
    with (
        closing(ledger_file.open_reader(path)) as reader,
        closing(ledger_file.open_second_writer(path)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM decisions").fetchone()
        writer.execute("PRAGMA user_version = 7")
        with pytest.raises(LedgerRefusedError, match="another program uses it"):
            compact(path, lambda _: None)
