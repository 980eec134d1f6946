"""One sidecar is cut off from PostgreSQL, or its exchanges are slow, or it stands still."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from fleet.apps import CEILING, call, calls, decided, held
from fleet.link import Link, link
from fleet.places import PostgresPlace
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from mistral_spend.v1 import authorization_pb2 as pb
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, error_info, eventually, tester

from sidecar.domain.clock import SECOND_US
from sidecar.domain.sharing import SILENT_US
from sidecar.domain.windows import MINUTE_US

Start = Callable[..., RunningSidecar]

UNREACHABLE = "FLEET_UNREACHABLE"
AT_ONCE, A_MINUTE = 6, 12
EXCHANGE_SECONDS = 1.5
"""Within them a sidecar that is cut off has begun an exchange."""


@pytest.fixture
def line(postgres: PostgresPlace) -> Iterator[Link]:
    """The network of one sidecar."""
    with link(postgres.server) as opened:
        yield opened


def refused(pod: RunningSidecar) -> grpc.RpcError:
    """Return the error of the first call that is not decided."""
    for _ in range(CEILING):
        try:
            pod.stub.Authorize(chat(tester(), model="small-1"), timeout=10)
        except grpc.RpcError as error:
            return error
    raise AssertionError("all calls were decided")


def many(pod: RunningSidecar, number: int, who: str = "ada", **changes: Any) -> Counter[str]:
    """Authorize many calls, all at the same time."""
    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(lambda _: call(pod, who, **changes), range(number)))


def test_a_sidecar_that_is_cut_off_goes_on_with_its_share(
    postgres: PostgresPlace, pods: Start, line: Link, tmp_path: Path
) -> None:
    """G9: then each call is UNAVAILABLE, with when to retry, and is recorded nowhere."""
    cut_off = pods(1, postgres, url=line.url(postgres.database))
    other = pods(2, postgres)
    assert calls(cut_off, 40) == Counter(allow=40)
    line.cut()
    error = refused(cut_off)
    info = error_info(error)
    assert (error.code(), info.reason) == (grpc.StatusCode.UNAVAILABLE, UNREACHABLE)
    status = rpc_status.from_call(error)
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 1
    admitted = held(tmp_path / "1.sqlite")
    assert 40 < admitted < CEILING
    assert many(cut_off, 20).keys() == {UNREACHABLE}
    assert (held(tmp_path / "1.sqlite"), decided(tmp_path / "1.sqlite")) == (admitted, admitted)
    others = calls(other, CEILING)
    assert others["allow"] + admitted <= CEILING
    line.mend()
    eventually(lambda: call(cut_off) != UNREACHABLE)
    calls(cut_off, CEILING)
    calls(other, CEILING)
    assert held(tmp_path / "1.sqlite") + held(tmp_path / "2.sqlite") == CEILING


def test_books_that_answer_slowly_keep_no_call_waiting(
    postgres: PostgresPlace, pods: Start, line: Link, tmp_path: Path
) -> None:
    """G9: with 2 s for each answer no exchange is in time, and calls are UNAVAILABLE, not denied.

    All of many calls at the same time have their answer while an app of a few seconds waits.
    """
    line.delay_seconds = 2
    pod = pods(1, postgres, url=line.url(postgres.database))
    assert many(pod, 30, timeout=5) == Counter({UNREACHABLE: 30})
    assert decided(tmp_path / "1.sqlite") == 0
    line.delay_seconds = 0.01
    eventually(lambda: call(pod) == "allow")
    assert calls(pod, 10) == Counter(allow=10)


def test_books_that_are_far_away_are_joined(
    postgres: PostgresPlace, pods: Start, line: Link
) -> None:
    """A connection and the first exchange take more round trips than fit into a second."""
    line.delay_seconds = 0.06
    pod = pods(1, postgres, url=line.url(postgres.database))
    eventually(lambda: call(pod) == "allow", 30)
    assert calls(pod, 10)["allow"] > 0


@pytest.fixture
def timeless(tmp_path: Path) -> Path:
    """A limit of calls in a minute, and one of calls at once, for each caller."""
    return minimal(
        tmp_path / "timeless",
        rate=limit(f'principal.id == "rate" ? {A_MINUTE} : 1000', window="minute", per="principal.id"),
        at_once=limit(
            f'principal.id == "at-once" ? {AT_ONCE} : 1000', window="concurrent", per="principal.id"
        ),
    )  # fmt: skip


def free_of(place: PostgresPlace, rule: str) -> int:
    """Return what the only holder has and does not use of the budget that is tight."""
    rows = place.sql(
        "SELECT granted - spent - held AS free FROM fleet_share JOIN fleet_budget ON id = budget"
        f" WHERE rule = '{rule}' AND scope = '{rule}'"
    )
    return int(rows[0]["free"]) if rows else 0


def test_a_sidecar_that_stood_still_admits_nothing_on_a_share_that_others_took(
    postgres: PostgresPlace, pods: Start, line: Link, timeless: Path
) -> None:
    """G6: it was stopped in the middle of an exchange, and is not told how long.

    Its shares of a minute and of calls at once end with its silence; the books' clock goes on
    faster here, so that others need not wait for all of that.
    """
    frozen = pods(1, postgres, url=line.url(postgres.database), rules=timeless)

    brief = {"hold_ttl_seconds": 20}  # a longer one keeps its share of calls at once as long

    def has_free_shares() -> bool:
        """Use a little, so that it keeps something ready."""
        assert call(frozen, "rate", **brief) == "allow"
        request = chat(tester(id="at-once"), model="small-1", **brief)
        hold = frozen.stub.Authorize(request, timeout=10)
        frozen.stub.Release(pb.ReleaseRequest(hold_id=hold.hold_id), timeout=10)
        return free_of(postgres, "rate") > 0 and free_of(postgres, "at-once") > 0

    eventually(has_free_shares)
    line.cut()
    time.sleep(EXCHANGE_SECONDS)  # one is under way, and is repeated until it has an answer
    assert frozen.process is not None
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        line.mend()
        time.sleep(SILENT_US / SECOND_US)
        postgres.pass_us(2 * MINUTE_US)
        other = pods(2, postgres, rules=timeless)
        assert many(other, 2 * A_MINUTE, "rate") == Counter(allow=A_MINUTE, TOO_MUCH=A_MINUTE)
        assert many(other, 2 * AT_ONCE, "at-once") == Counter(allow=AT_ONCE, TOO_MUCH=AT_ONCE)
        with ThreadPoolExecutor(20) as pool:  # its first calls come while it stands still
            waiting = [pool.submit(call, frozen, who) for who in ("rate", "at-once") * 10]
            time.sleep(EXCHANGE_SECONDS)
            frozen.process.send_signal(signal.SIGCONT)
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    results = Counter(one.result() for one in waiting)
    assert results.keys() <= {"TOO_MUCH", UNREACHABLE}
    assert call(other, "at-once") == "TOO_MUCH"
