"""Real sidecars with one budget and one receiver of alerts: what an operator gets."""

import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet.places import PostgresPlace
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar
from support.policies import limit, minimal
from support.receiver import SECRET, Receiver, receiver
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.fleet.alerts import CLAIM_US

CEILING = 20

Start = Callable[..., RunningSidecar]


@pytest.fixture
def posted() -> Iterator[Receiver]:
    """A receiver that accepts everything."""
    with receiver() as server:
        yield server


@pytest.fixture
def pods(
    postgres: PostgresPlace, tmp_path: Path, posted: Receiver, start_sidecar: Start
) -> Callable[[int], RunningSidecar]:
    """Start sidecars of the fleet, each with a ledger of its own, and the same webhook."""
    policies = minimal(tmp_path / "policies", daily=limit(str(CEILING)))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)

    def start(number: int) -> RunningSidecar:
        return start_sidecar(
            policies,
            "--fleet-url-file",
            str(postgres.url_file),
            "--alert-webhook-secret-file",
            str(secret),
            env={"SIDECAR_ALERT_WEBHOOK": posted.url},
            ledger=tmp_path / f"{number}.sqlite",
        )

    return start


def call(pod: RunningSidecar, who: str = "ada") -> bool:
    """Authorize a call; return whether it is allowed."""
    asked = chat(tester(id=who), model="small-1")
    answer: pb.AuthorizeResponse = pod.stub.Authorize(asked, timeout=10)
    return answer.effect == pb.EFFECT_ALLOW


def rows(pod: RunningSidecar, query: str) -> list[int]:
    """Return a column of numbers of a sidecar's ledger."""
    connection = sqlite3.connect(pod.ledger)
    found = connection.execute(query).fetchall()
    connection.close()
    return [number for (number,) in found]


def raised(pod: RunningSidecar) -> list[int]:
    """Return the thresholds that a sidecar has raised alerts of."""
    return rows(pod, "SELECT percent FROM alerts ORDER BY percent")


def is_settled(pod: RunningSidecar) -> bool:
    """Whether no alert of a sidecar is left to deliver."""
    return not rows(pod, "SELECT alert FROM alert_deliveries WHERE delivered_at_us IS NULL")


def test_a_threshold_of_one_budget_is_delivered_once(
    pods: Callable[[int], RunningSidecar], posted: Receiver
) -> None:
    """A1: to the log, too; both sidecars raised it, and both know that it was delivered."""
    two = [pods(1), pods(2)]
    for pod in two * CEILING:
        call(pod)
    assert [raised(pod)[-1] for pod in two] == [100, 100]
    eventually(lambda: all(is_settled(pod) for pod in two), 60)
    assert sorted(alert["percent"] for alert in posted.alerts) == [50, 80, 100]
    listed = [sidecar("ledger", "alerts", "--ledger", pod.ledger)[1] for pod in two]
    assert all("by a sidecar of the fleet" in out for out in listed)
    for pod in two:
        pod.stop()
    assert sum(pod.log.count("alert threshold") for pod in two) == 3


def test_what_a_killed_sidecar_did_not_deliver_another_does(
    pods: Callable[[int], RunningSidecar], posted: Receiver, postgres: PostgresPlace
) -> None:
    """A2: once the claim of the dead one has lapsed."""
    first, second = pods(1), pods(2)
    posted.answer = "hang"
    while not raised(first):
        assert call(first)
    eventually(lambda: len(posted.alerts) == 1)
    first.stop(signal.SIGKILL)
    posted.answer = 204
    eventually(lambda: call(second) and raised(second))
    assert len(posted.alerts) == 1
    postgres.pass_us(CLAIM_US)
    eventually(lambda: len(posted.alerts) == 2, 60)
    dead, alive = posted.alerts
    assert (dead["percent"], alive["percent"]) == (50, 50)
    assert dead["instance"].endswith("/1.sqlite")
    assert alive["instance"].endswith("/2.sqlite")


def test_a_share_that_is_too_small_raises_no_alert(
    postgres: PostgresPlace, tmp_path: Path, start_sidecar: Start
) -> None:
    """Where another limit denies a call, the books are not asked about this one, which has room."""
    policies = minimal(
        tmp_path / "policies", personal=limit("1000", per="principal.id"), few=limit("1")
    )
    pod = start_sidecar(
        policies,
        "--fleet-url-file",
        str(postgres.url_file),
        ledger=tmp_path / "one.sqlite",
    )
    assert [call(pod, who) for who in ("ada", "ada", "bob", "eve")] == [True, False, False, False]
    assert rows(pod, "SELECT count(*) FROM alerts WHERE rule = 'few'") != [0]
    assert rows(pod, "SELECT count(*) FROM alerts WHERE rule = 'personal'") == [0]
