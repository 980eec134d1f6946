"""The benchmark's parts work; what they measure is for `make bench` to say."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support import tools
from support.npm import fetch
from support.sidecar_process import RunningSidecar, stub

from bench import cerbos, filled_ledger, servers
from bench.disk import writes
from bench.groups import groups
from bench.load import PAIR, SETTLE, STREAM, UNARY, Load, rounds
from bench.servers import Server, StartError
from bench.sidecars import Sidecar, roomy
from bench.soak import soak
from sidecar.ledger import ledger_file
from sidecar.ledger.verify import verify


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    """Give a list of servers that are stopped in the end; each starts once."""
    monkeypatch.setattr(servers, "STARTS", 1)
    with servers.stopped_at_end() as them:
        yield them


def test_a_filled_ledger_verifies_and_a_sidecar_decides_on_it(
    tmp_path: Path, start_sidecar: Callable[..., RunningSidecar]
) -> None:
    """The ledger could have written it itself."""
    ledger, policies = tmp_path / "filled.sqlite", roomy(tmp_path / "policies")
    progress: list[int] = []
    filled_ledger.fill(ledger, policies, 2_000, progress.append)
    assert progress[-1] == 2_000
    with closing(ledger_file.open_reader(ledger)) as connection:
        findings, counts = verify(connection)
        states = dict(connection.execute("SELECT state, count(*) FROM holds GROUP BY state"))
    assert (findings, counts["decisions"] + counts["denials"]) == ([], 2_000)
    assert states["settled"] > states["open"] > 0
    assert counts["denials"] > 0
    sidecar = start_sidecar(policies, ledger=ledger)
    answer = sidecar.stub.Authorize(pb.AuthorizeRequest.FromString(servers.AUTHORIZE.message))
    assert answer.effect == pb.EFFECT_ALLOW
    assert sidecar.stop() == 0
    with closing(ledger_file.open_reader(ledger)) as connection:
        assert verify(connection)[0] == []


def test_an_existing_ledger_is_not_filled_again(tmp_path: Path) -> None:
    """So a large one can be kept."""
    ledger = tmp_path / "filled.sqlite"
    policies = roomy(tmp_path / "policies")
    filled_ledger.fill(ledger, policies, 10)
    filled_ledger.fill(ledger, policies, 20)
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("SELECT count(*) FROM all_decisions").fetchone() == (10,)


@pytest.mark.parametrize("kind", ["empty handler", "sidecar"])
def test_the_stream_client_gets_a_response_to_each_call(
    tmp_path: Path, started: list[Server], kind: str
) -> None:
    """200 calls on one stream, by the sidecar and by the empty handler."""
    is_empty = kind == "empty handler"
    started.append(servers.empty() if is_empty else Sidecar(kind, tmp_path / "s"))
    ((row,),) = rounds([Load(started[0], STREAM, 64, 200)], 1)
    assert (row.server, row.calls) == (kind, 200)


def test_a_soak_counts_what_was_decided_and_settled(tmp_path: Path, started: list[Server]) -> None:
    """Every hold of its apps closes; those of the probe stay open."""
    started.append(Sidecar("sidecar", tmp_path / "s"))
    found = soak(started[0], 2)
    assert found.decisions == found.settlements > 0
    with closing(sqlite3.connect(tmp_path / "s" / "ledger.sqlite")) as connection:
        states = dict(connection.execute("SELECT state, count(*) FROM holds GROUP BY state"))
    assert states == {"settled": found.settlements, "open": found.probes + 1}


@pytest.fixture(scope="module")
def cerbos_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Cerbos with the benchmark's policy."""
    with pytest.MonkeyPatch.context() as patch, servers.stopped_at_end() as them:
        patch.setattr(servers, "STARTS", 1)
        with tools.needed():
            them.append(cerbos.start(tmp_path_factory.mktemp("cerbos") / "cerbos"))
        yield them[0].address


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, "ALLOW"),
        ({"key_id": "dev-team-key"}, "ALLOW"),
        ({"workspace": "ml-workspace", "team": "ml"}, "ALLOW"),
        ({"workspace": "ml-workspace", "role": "admin"}, "ALLOW"),
        ({"workspace": "prod-workspace", "service": "ci", "model": "codestral-2508"}, "ALLOW"),
        ({"tokens": 2001}, "DENY"),
        ({"model": "mistral-large-latest"}, "DENY"),
        ({"model": "mistral-large-latest", "role": "senior"}, "DENY"),
        ({"model": "unheard-of"}, "DENY"),
        ({"role": "ghost"}, "DENY"),
        ({"workspace": "ml-workspace"}, "DENY"),
        ({"workspace": "prod-workspace"}, "DENY"),
        ({"workspace": "prod-workspace", "service": "search"}, "DENY"),
        ({"workspace": "nowhere"}, "DENY"),
        ({"key_id": "old-dev-team-key"}, "DENY"),
        ({"key_id": "ml-team-key"}, "DENY"),
        ({"key_id": "made-up-key"}, "DENY"),
    ],
)
def test_cerbos_decides_as_the_sidecar(
    cerbos_address: str, shared_sidecar: RunningSidecar, call: dict[str, Any], expected: str
) -> None:
    """Both give the same decisions on the same data."""
    assert cerbos.effect(cerbos_address, cerbos.request(**call)) == f"EFFECT_{expected}"
    names = {"role": "developer", "workspace": "dev-workspace", "key_id": ""}
    known = {name: call.get(name, default) for name, default in names.items()}
    labels: dict[str, str] = {name: call[name] for name in ("team", "service") if name in call}
    request = pb.AuthorizeRequest(
        principal=pb.Principal(id="ada", labels=labels, **known),
        model=call.get("model", "mistral-small-latest"),
        estimate=pb.Estimate(input_tokens=call.get("tokens", 200) - 100, max_output_tokens=100),
        dry_run=True,
    )
    answer = stub(shared_sidecar.addresses[0]).Authorize(request)
    assert pb.Effect.Name(answer.effect) == f"EFFECT_{expected}", answer.reasons


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark goes on without it, and says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(tools.MissingError, match=r"left-pad@1\.0\.0 cannot be fetched: npm"):
        fetch("left-pad@1.0.0", "", "package/index.js", tmp_path / "target")


def test_the_metrics_say_how_many_requests_share_a_commit(tmp_path: Path) -> None:
    """Concurrent requests share commits; a single request does not wait for others."""
    tools.program("h2load")
    metrics = servers.free_address()
    server = Sidecar("watched", tmp_path / "w", args=("--metrics-listen", metrics))
    try:
        many, _, alone = groups(server, metrics, 200)
    finally:
        server.stop()
    assert 1 <= alone.requests_per_commit < 1.1  # housekeeping commits, too
    assert many.requests_per_commit > 1
    assert many.commit_ms > 0


@pytest.mark.parametrize("rpc", [SETTLE, PAIR])
def test_each_hold_of_a_load_is_settled(tmp_path: Path, started: list[Server], rpc: str) -> None:
    """Settle has as many holds as calls; a pair settles what it has authorized."""
    started.append(server := Sidecar("sidecar", tmp_path / "s"))
    row = Load(server, rpc, 16, 100).run()
    assert (row.rpc, row.calls) == (rpc, 100)
    with closing(sqlite3.connect(server.ledger)) as connection:
        states = connection.execute("SELECT state, count(*) FROM holds GROUP BY state").fetchall()
    assert states == [("settled", 100)]


def test_what_a_call_writes_is_counted(tmp_path: Path, started: list[Server]) -> None:
    """The WAL grows by whole pages; alone, a call writes more of them than its part of a group."""
    started.append(server := Sidecar("sidecar", tmp_path / "s"))
    many, alone = writes(server, ((PAIR, 32), (PAIR, 1)), 100)
    for it in (many, alone):
        assert (round(it.wal_bytes * 100) - 32) % (4096 + 24) == 0  # its header, and its frames
        assert it.wal_bytes > it.file_bytes > 0
    assert alone.wal_bytes > many.wal_bytes


def test_pwrite64_is_counted_with_one_call_in_flight(tmp_path: Path, started: list[Server]) -> None:
    """Each frame of the WAL takes two: its header, and its page."""
    tools.program("strace")
    started.append(server := Sidecar("sidecar", tmp_path / "s"))
    (alone,) = writes(server, ((UNARY, 1),), 100)
    if alone.pwrite64 is None:
        tools.cannot("strace may not trace another process")
    assert alone.pwrite64 > 2


def test_a_server_that_ends_is_reported_with_its_log() -> None:
    """Not as an error of the benchmark's own."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such policies')"]
    with pytest.raises(StartError, match=r"^it did not start: no such policies$"):
        Server("it", command)
