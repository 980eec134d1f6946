"""PostgreSQL is replaced: by a replica that takes over, and by a backup that is restored."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.apps import CEILING, call, calls, held
from fleet.places import PostgresPlace
from fleet.postgres_server import PostgresServer
from support.commands import sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, eventually

from sidecar.domain.clock import SECOND_US
from sidecar.domain.sharing import RESTATED_SECONDS

Start = Callable[..., RunningSidecar]
Copy = Callable[..., PostgresServer]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """One budget, whose window does not end in the middle of a test."""
    return minimal(tmp_path / "policies", total=limit(str(CEILING), window="total"))


@pytest.fixture
def copy(own_server: PostgresServer) -> Iterator[Copy]:
    """Make a copy of the server."""
    made: list[PostgresServer] = []

    def make(*, follows: bool) -> PostgresServer:
        made.append(PostgresServer(copy_of=own_server, follows=follows))
        return made[-1]

    yield make
    for server in made:
        server.remove()


def status(place: PostgresPlace) -> Any:
    """Return what `sidecar fleet status` says."""
    file = ("--fleet-url-file", place.url_file, "--format", "json")
    code, out, err = sidecar("fleet", "status", *file)
    assert code == 0, err
    return json.loads(out)


def serve(place: PostgresPlace, server: PostgresServer) -> None:
    """Let another server answer in the place of the first, which crashes."""
    place.server.stop("immediate")
    place.server = server
    place.say_url(server.url(place.database))


def share_of(place: PostgresPlace, others: set[str]) -> tuple[str, int]:
    """Return the holder that is not one of those, and its share."""
    [(uid, granted)] = [
        (row["uid"], row["granted"])
        for row in place.sql("SELECT uid, granted FROM fleet_share")
        if row["uid"] not in others
    ]
    return uid, granted


def holders(place: PostgresPlace) -> set[str]:
    """Return all holders that the books know."""
    return {row["uid"] for row in place.sql("SELECT uid FROM fleet_holder")}


def use_up(pods: list[RunningSidecar], tmp_path: Path) -> int:
    """Call until every sidecar denies; return how many calls the ledgers of all have admitted."""

    def all_deny() -> bool:
        return all(calls(pod, 40).keys() == {"TOO_MUCH"} for pod in pods)

    eventually(all_deny, 60)
    return sum(held(tmp_path / f"{number}.sqlite") for number in range(len(pods)))


def test_an_asynchronous_replica_that_lags_takes_over(
    own_place: PostgresPlace, pods: Start, copy: Copy, tmp_path: Path
) -> None:
    """G8: the ceiling is passed by D at most, the grants of a silent sidecar that were lost."""
    two = [pods(number, own_place) for number in range(2)]
    assert [calls(pod, 30) for pod in two] == [Counter(allow=30)] * 2
    replica = copy(follows=True)
    assert replica.execute("SELECT pg_is_in_recovery() AS follows") == [(True,)]
    replica.stop_following()
    known = holders(own_place)
    assert [calls(pod, 30) for pod in two] == [Counter(allow=30)] * 2
    silent = pods(2, own_place)
    assert calls(silent, 20) == Counter(allow=20)
    silent.stop(signal.SIGKILL)
    _, lost = share_of(own_place, known)
    replica.promote()
    serve(own_place, replica)
    eventually(lambda: status(own_place)["learning_until"] is not None)
    assert status(own_place)["timeline"] == 6
    meanwhile = sum((calls(pod, 20) for pod in two), Counter[str]())
    assert meanwhile.keys() <= {"allow", "FLEET_UNREACHABLE"}
    admitted = use_up(two, tmp_path)
    assert admitted == CEILING
    silent.restart()  # it knows more than the books do, too
    eventually(lambda: status(own_place)["learning_until"] is not None)
    own_place.pass_us(RESTATED_SECONDS * SECOND_US)
    admitted = use_up([*two, silent], tmp_path)
    assert CEILING + 20 <= admitted <= CEILING + lost


def test_a_synchronous_replica_that_takes_over_has_lost_nothing(
    own_place: PostgresPlace, pods: Start, copy: Copy, tmp_path: Path
) -> None:
    """D is 0: what it has not received is not granted, and a silent sidecar keeps what it has."""
    replica = copy(follows=True)
    own_place.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    eventually(lambda: own_place.sql("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
    two = [pods(number, own_place) for number in range(2)]
    assert [calls(pod, 30) for pod in two] == [Counter(allow=30)] * 2
    silent = pods(2, own_place)
    assert calls(silent, 20) == Counter(allow=20)
    replica.stop_following()
    eventually(lambda: call(silent) == "FLEET_UNREACHABLE")
    silent.stop(signal.SIGKILL)
    replica.promote()
    serve(own_place, replica)
    assert 60 < use_up(two, tmp_path) <= CEILING - 20
    silent.restart()
    assert use_up([*two, silent], tmp_path) == CEILING


def test_a_backup_is_served_in_the_place_of_the_server(
    own_place: PostgresPlace, pods: Start, copy: Copy, tmp_path: Path
) -> None:
    """G8: holders are ahead of it, so it learns what they have before it grants anything."""
    two = [pods(number, own_place) for number in range(2)]
    assert [calls(pod, 30) for pod in two] == [Counter(allow=30)] * 2
    backup = copy(follows=False)
    assert [calls(pod, 60) for pod in two] == [Counter(allow=60)] * 2
    backup.start()
    serve(own_place, backup)
    eventually(lambda: status(own_place)["learning_until"] is not None)
    assert (status(own_place)["timeline"], len(holders(own_place))) == (5, 2)
    meanwhile = sum((calls(pod, 20) for pod in two), Counter[str]())
    assert meanwhile.keys() <= {"allow", "FLEET_UNREACHABLE"}
    assert use_up(two, tmp_path) == CEILING


def test_an_old_primary_that_comes_back_is_not_asked(
    own_place: PostgresPlace, pods: Start, copy: Copy, tmp_path: Path
) -> None:
    """A sidecar has seen the new timeline: it takes nothing of the old books, and books nothing."""
    pod = pods(0, own_place)
    assert calls(pod, 10) == Counter(allow=10)
    replica, old = copy(follows=True), own_place.server
    replica.promote()
    serve(own_place, replica)
    eventually(lambda: status(own_place)["timeline"] == 6)
    old.start()
    serve(own_place, old)
    before = own_place.sql("SELECT * FROM fleet_holder")
    results = calls(pod, CEILING)
    assert results.keys() == {"allow", "FLEET_UNREACHABLE"}
    assert held(tmp_path / "0.sqlite") == 10 + results["allow"] < CEILING
    assert own_place.sql("SELECT * FROM fleet_holder") == before
