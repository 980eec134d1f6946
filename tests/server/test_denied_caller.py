"""A caller that is denied everything takes a bounded part of the disk, and nothing from others."""

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar as command
from support.outside import METRICS, page, samples, value
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.domain.bounds import MAX_ID_BYTES

Start = Callable[..., RunningSidecar]

MAX_DENIALS = 200
DENIAL_BYTES = 4_500
"""At most, as docs/deploy.md says."""
DECISION_BYTES = 2_000


def hostile() -> pb.AuthorizeRequest:
    """Return a request with the longest names, none of which was there before."""
    names = [str(uuid.uuid4()).ljust(MAX_ID_BYTES, "x") for _ in range(6)]
    who = tester(id=names[0], role=names[1], workspace=names[2], key_id=names[3])
    return chat(who, model=names[4], request_id=names[5])


def requests(denied: int, allowed: int) -> Iterator[pb.AuthorizeRequest]:
    """Yield so many hostile requests, with honest ones between them."""
    for number in range(denied):
        yield hostile()
        if number % (denied // allowed) == 0:
            yield chat(tester(), model="small-1", request_id=str(uuid.uuid4()))


def size_bytes(ledger: Path) -> int:
    """Return what a ledger has in its file and its WAL."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return int(pages * page_bytes)


def test_a_caller_that_is_denied_everything_takes_a_bounded_part_of_the_disk(
    start_sidecar: Start, tmp_path: Path
) -> None:
    """D1: allowed calls are all there, and the denials that made room are counted."""
    policies = minimal(tmp_path / "p", daily=limit("100000000", meter="tokens"))
    admin = f"unix:{tmp_path / 'admin.sock'}"
    running = start_sidecar(
        policies, "--max-denials", str(MAX_DENIALS), "--admin-listen", admin, *METRICS
    )
    held: list[str] = []
    sizes = [size_bytes(running.ledger)]
    for denied in (300, 1200):
        answers = list(running.stub.AuthorizeStream(requests(denied, 20)))
        held += [answer.hold_id for answer in answers if answer.effect == pb.EFFECT_ALLOW]
        sizes.append(size_bytes(running.ledger))
    empty, full, later = sizes
    assert len(held) == 40
    assert full - empty < 1.1 * MAX_DENIALS * DENIAL_BYTES + 20 * DECISION_BYTES
    assert later - full < 0.1 * full + 20 * DECISION_BYTES

    found = samples(page(running))
    assert value(found, "sidecar_ledger_denials") == MAX_DENIALS
    assert value(found, "sidecar_ledger_denials_dropped_total") == 1500 - MAX_DENIALS
    code, out, _ = command("status", "--admin", admin)
    assert (code, "200 denials (1,300 older dropped)" in out) == (0, True), out
    for hold_id in held:
        assert running.stub.Settle(pb.SettleRequest(hold_id=hold_id, usage={"output_tokens": 1}))
    assert running.stop() == 0
    verified = ("ledger", "verify", "--ledger", running.ledger)
    code, out, _ = command(*verified)
    assert (code, "200 denials" in out, "1,300 dropped denials" in out) == (0, True, True), out
    counts = json.loads(command(*verified, "--format", "json")[1])["counts"]
    assert (counts["decisions"], counts["holds"]) == (40, 40)
    assert (counts["denials"], counts["dropped_denials"]) == (MAX_DENIALS, 1500 - MAX_DENIALS)
