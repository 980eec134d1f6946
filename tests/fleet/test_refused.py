"""Books that do not let a sidecar in, or not any more: what its log and its probes say."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from fleet.apps import call, calls, held
from fleet.places import PostgresPlace
from fleet.postgres_server import PASSWORD, POD, WRITTEN_PASSWORD
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.disks import small_disk
from support.outside import HEALTH, address
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, eventually

Start = Callable[..., RunningSidecar]

UNREACHABLE = "FLEET_UNREACHABLE"
DISK_BYTES = 2**20
MANY_ROWS = 150
"""More than fit into a page or two."""


def is_ready(pod: RunningSidecar) -> bool:
    """Whether a probe may send calls to a sidecar."""
    with grpc.insecure_channel(address(pod, "health")) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def whole_log(pod: RunningSidecar) -> str:
    """End a sidecar; return its log, in which there is no secret."""
    assert pod.stop() == 0
    for secret in (PASSWORD, WRITTEN_PASSWORD, "wr0ng-one"):
        assert secret not in pod.log
    assert "Traceback" not in pod.log
    return pod.log


CAUSES: dict[str, tuple[str, str, str]] = {
    "wrong password": ("", "wr0ng-one", "the user or the password is wrong"),
    "no such database": ("", "nowhere", "there is no such database"),
    "read-only": (
        f"ALTER ROLE {POD} SET default_transaction_read_only = on", "", "the server is read-only"
    ),
    "newer tables": ("UPDATE fleet SET least_version = 99", "", "use a newer sidecar"),
    "no tables": ("DROP TABLE fleet_holder", "", "run `sidecar fleet init`"),
    "another time zone": ("UPDATE fleet SET time_zone = 'Asia/Tokyo'", "", "--time-zone Asia/Tokyo"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "wrong", "says"), CAUSES.values(), ids=CAUSES.keys())
def test_a_new_sidecar_that_is_not_let_in_is_not_ready(
    postgres: PostgresPlace, pods: Start, statement: str, wrong: str, says: str, tmp_path: Path
) -> None:
    """Its log says why; calls are UNAVAILABLE, and recorded nowhere."""
    url = postgres.server.url("nowhere" if wrong == "nowhere" else postgres.database)
    if wrong == "wr0ng-one":
        url = url.replace(WRITTEN_PASSWORD, wrong)
    if statement:
        postgres.sql(statement)
    try:
        pod = pods(1, postgres, *HEALTH, url=url)
        assert call(pod) == UNREACHABLE
        assert not is_ready(pod)
        log = whole_log(pod)
    finally:
        postgres.sql(f"ALTER ROLE {POD} RESET default_transaction_read_only")
    assert re.search(rf"WARNING \S+ the fleet's books cannot be asked: .*{says}", log), log
    assert "not ready: the fleet's books " in log
    assert held(tmp_path / "1.sqlite") == 0


def test_a_sidecar_with_shares_is_ready_where_the_books_have_become_read_only(
    own_place: PostgresPlace, pods: Start
) -> None:
    """Calls go on from what it has: a probe must not take all sidecars away at once."""
    pod = pods(1, own_place, *HEALTH)
    assert calls(pod, 20).keys() == {"allow"}
    own_place.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    eventually(lambda: call(pod) == UNREACHABLE)
    assert is_ready(pod)
    own_place.sql(
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    )
    eventually(lambda: call(pod) == "allow")
    log = whole_log(pod)
    assert "the server is read-only: it is a replica, or its disk is nearly full" in log
    assert "the fleet's books answer" in log.partition("read-only")[2]


def test_of_two_sidecars_with_one_ledger_the_fenced_one_is_not_ready(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G5: it says so, with the way out, and admits nothing on the share that it still has."""
    first = pods(1, postgres, *HEALTH)
    assert calls(first, 20).keys() == {"allow"}
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"1.sqlite{end}", tmp_path / f"2.sqlite{end}")
    second = pods(2, postgres, *HEALTH)
    eventually(lambda: call(second) == "allow")
    eventually(lambda: call(first) == UNREACHABLE)
    eventually(lambda: not is_ready(first))
    assert is_ready(second)
    admitted = held(tmp_path / "1.sqlite")
    assert calls(first, 20).keys() == {UNREACHABLE}
    assert held(tmp_path / "1.sqlite") == admitted
    log = whole_log(first)
    assert "another sidecar serves a copy of it" in log or "another process serves a copy" in log
    assert "`sidecar fleet rejoin`" in log


def test_a_ledger_of_another_fleet_is_not_let_in(
    postgres: PostgresPlace, own_place: PostgresPlace, pods: Start
) -> None:
    """Its share is of other books: neither these nor it may take it for theirs."""
    pod = pods(1, postgres, *HEALTH)
    assert calls(pod, 20).keys() == {"allow"}
    assert pod.stop() == 0
    other = pods(1, own_place, *HEALTH)
    eventually(lambda: not is_ready(other))
    assert call(other) == UNREACHABLE
    assert own_place.sql("SELECT uid FROM fleet_holder") == []
    assert "this ledger is in another fleet than these books" in whole_log(other)
    again = pods(1, postgres, *HEALTH)
    eventually(lambda: call(again) == "allow")


def test_books_on_a_full_disk(own_place: PostgresPlace, pods: Start, tmp_path: Path) -> None:
    """Calls that have to ask are UNAVAILABLE, and none is denied; with room again, all goes on."""
    rules = minimal(tmp_path / "each", each=limit("1000", per="principal.id"))
    disk = own_place.server.folder / "small"
    with small_disk(disk, DISK_BYTES):
        own_place.server.own(disk)
        own_place.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own_place.sql("ALTER TABLE fleet_share SET TABLESPACE small")
        pod = pods(1, own_place, *HEALTH, rules=rules)
        assert calls(pod, 20, "first").keys() == {"allow"}
        filler = disk / "filler"
        fill(filler)
        results = Counter(call(pod, f"other-{number}") for number in range(MANY_ROWS))
        assert results.keys() == {"allow", UNREACHABLE}
        assert is_ready(pod)
        filler.unlink()
        eventually(lambda: call(pod, "last") == "allow", 30)
        assert "the server's disk is full" in whole_log(pod)
        own_place.server.stop("immediate")


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
