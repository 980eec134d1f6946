"""Real sidecars with one budget, on a real PostgreSQL: what an app sees of a fleet."""

import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from fleet.apps import CEILING, budget_of, call, calls, held
from fleet.places import PostgresPlace
from support.commands import sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, eventually

Start = Callable[..., RunningSidecar]


def test_sidecars_admit_one_ceiling_together(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G1, G2: and none of it is left over; a denial has the rule's own code, and the figures."""
    three = [pods(number, postgres) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        results = sum(pool.map(lambda pod: calls(pod, 150), three), Counter[str]())
    assert results == Counter(allow=CEILING, TOO_MUCH=150)
    assert sum(held(tmp_path / f"{number}.sqlite") for number in range(3)) == CEILING
    for pod in three:
        assert call(pod) == "TOO_MUCH"
        budget = budget_of(pod)
        assert (budget.held, budget.remaining, budget.HasField("as_of")) == (CEILING, 0, True)


def test_principals_who_call_at_once_all_get_a_share(
    postgres: PostgresPlace, start_sidecar: Start, tmp_path: Path
) -> None:
    """What the books granted a call is not given back before the call is decided again."""
    policies = minimal(tmp_path / "each", daily=limit("10", per="principal.id"))
    arguments = ("--fleet-url-file", str(postgres.url_file))
    pod = start_sidecar(policies, *arguments, ledger=tmp_path / "1.sqlite")
    with ThreadPoolExecutor(16) as pool:
        results = Counter(pool.map(lambda number: call(pod, f"user-{number}"), range(160)))
    assert results == Counter(allow=160)


def test_a_sidecar_that_stops_gives_back_what_it_does_not_use(
    postgres: PostgresPlace, pods: Start
) -> None:
    """G3: and has what it used."""
    first, second = pods(1, postgres), pods(2, postgres)
    assert calls(first, 20) == Counter(allow=20)
    assert first.stop() == 0
    assert calls(second, CEILING) == Counter(allow=CEILING - 20, TOO_MUCH=20)


def test_a_sidecar_that_is_killed_goes_on_with_its_share(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G7: until then nobody else has what is left of it; nothing is over, nothing is lost."""
    first, second = pods(1, postgres), pods(2, postgres)
    assert calls(first, 40) == Counter(allow=40)
    first.stop(signal.SIGKILL)
    mine = calls(second, CEILING)["allow"]
    assert mine <= CEILING - 40
    first.restart()
    rest = calls(first, CEILING)["allow"] + calls(second, CEILING)["allow"]
    assert 40 + mine + rest == CEILING
    assert held(tmp_path / "1.sqlite") + held(tmp_path / "2.sqlite") == CEILING


def test_calls_go_on_from_shares_without_the_books_and_are_then_unavailable(
    own_place: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G9: nothing of such a call is recorded, and once the books answer it is decided."""
    pod = pods(1, own_place)
    assert calls(pod, 50) == Counter(allow=50)
    own_place.server.stop()
    results = calls(pod, CEILING)
    assert results.keys() <= {"allow", "FLEET_UNREACHABLE"}
    assert results["FLEET_UNREACHABLE"]
    assert held(tmp_path / "1.sqlite") == 50 + results["allow"]
    own_place.server.start()
    eventually(lambda: call(pod) == "allow")
    assert calls(pod, CEILING).keys() == {"allow", "TOO_MUCH"}
    assert held(tmp_path / "1.sqlite") == CEILING


def test_a_copy_of_a_ledger_is_fenced(postgres: PostgresPlace, pods: Start, tmp_path: Path) -> None:
    """G5: of two sidecars with one place in the fleet, the one that started first."""
    first = pods(1, postgres)
    assert call(first) == "allow"
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"1.sqlite{end}", tmp_path / f"2.sqlite{end}")
    second = pods(2, postgres)
    eventually(lambda: call(second) == "allow")
    eventually(lambda: call(first) == "FLEET_UNREACHABLE")
    assert call(second) == "allow"


@pytest.mark.parametrize(
    ("url", "args", "code", "says"),
    [
        ("postgresql://pod:hunter2@127.0.0.1:1/books", ("--share", "1/5"), 2, "--share"),
        ("postgresql://pod:hunter2@db.example.com/books", (), 1, "sslmode=verify-full"),
        ("mysql://pod:hunter2@127.0.0.1/books", (), 1, "is not a URL"),
        (None, (), 1, "cannot be read"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_at_the_start(
    url: str | None, args: tuple[str, ...], code: int, says: str, tmp_path: Path, policies: Path
) -> None:
    """With the flag and the way out, and without the password."""
    file = tmp_path / "url"
    if url is not None:
        file.write_text(url)
    ended, _, error = sidecar(
        "serve", "--policies", policies, "--ledger", tmp_path / "ledger.sqlite",
        "--listen", "127.0.0.1:0", "--fleet-url-file", file, *args,
    )  # fmt: skip
    assert (ended, says in error, "hunter2" in error) == (code, True, False)
    assert "Traceback" not in error


def test_a_url_that_every_user_of_the_host_can_read_is_warned_of(
    postgres: PostgresPlace, pods: Start
) -> None:
    """It is used all the same, since Kubernetes mounts Secrets so."""
    warning = f"{postgres.url_file}: every user of this host can read the URL, and its password"
    for number, mode in enumerate((0o640, 0o644)):
        postgres.url_file.chmod(mode)
        pod = pods(number, postgres)
        pod.stop()
        assert (warning in pod.log) == (mode == 0o644)


def test_calls_do_not_open_connections_to_a_server_that_closes_them(
    postgres: PostgresPlace, pods: Start
) -> None:
    """As a pooler that refuses does; a thousand sidecars would keep it from coming back."""
    opened = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            nonlocal opened
            with suppress(OSError):
                while True:
                    server.accept()[0].close()
                    opened += 1

        threading.Thread(target=close_all, daemon=True).start()
        postgres.say_url(f"postgresql://pod:none@127.0.0.1:{server.getsockname()[1]}/books")
        pod = pods(1, postgres)
        with ThreadPoolExecutor(16) as pool:
            results = Counter(pool.map(lambda _: call(pod), range(160)))
        server.shutdown(socket.SHUT_RDWR)
    assert results == Counter(FLEET_UNREACHABLE=160)
    assert opened < 40, "many calls wait for each"


def test_what_a_ledger_had_used_before_it_joined_counts(
    postgres: PostgresPlace, pods: Start, policies: Path, start_sidecar: Start, tmp_path: Path
) -> None:
    """G1: from a sidecar alone, or from `--share`, and before its first call in the fleet."""
    alone = start_sidecar(policies, ledger=tmp_path / "1.sqlite")
    assert calls(alone, 200) == Counter(allow=200)
    alone.stop()
    first, second = pods(1, postgres), pods(2, postgres)
    eventually(lambda: budget_of(first).HasField("as_of"))
    assert calls(second, 150) == Counter(allow=100, TOO_MUCH=50)
    assert call(first) == "TOO_MUCH"


def test_a_ledger_of_a_fleet_is_not_served_without_it(
    postgres: PostgresPlace, pods: Start, policies: Path, start_sidecar: Start, tmp_path: Path
) -> None:
    """A flag that was lost would give each pod every budget whole; one that leaves has that."""
    member, ledger = pods(1, postgres), tmp_path / "1.sqlite"
    calls(member, 3)
    member.stop()
    assert "a new place in the fleet" in member.log
    with pytest.raises(AssertionError, match="sidecar fleet leave --ledger"):
        start_sidecar(policies, ledger=ledger)
    code, out, _ = sidecar("fleet", "leave", "--ledger", ledger)
    assert (code, "is in no fleet any more" in out) == (0, True)
    assert sidecar("fleet", "leave", "--ledger", ledger)[0] == 1
    assert budget_of(start_sidecar(policies, ledger=ledger)).remaining == CEILING - 3
