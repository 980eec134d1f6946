"""Limits of a fleet: all windows at once, ceilings that differ or change, adjustments, shadow."""

import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fleet.apps import CEILING, call, calls, held, patient_call
from fleet.places import PostgresPlace
from fleet.postgres_server import OWNER
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.domain.windows import Window

Start = Callable[..., RunningSidecar]

TIGHT, WIDE = 9, 100


def together(two: list[RunningSidecar], number: int, who: str = "ada") -> Counter[str]:
    """Let each of them make so many calls, at the same time; return what came of these."""
    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(lambda pod: patient_call(pod, who), two * number))


def use_up(pod: RunningSidecar, ledger: Path, number: int) -> None:
    """Call until its ledger has admitted so many calls, and then one more in vain."""
    eventually(lambda: call(pod) and held(ledger) == number)
    assert patient_call(pod) == "TOO_MUCH"


def settle(pod: RunningSidecar, answer: pb.AuthorizeResponse, tokens: int) -> None:
    """Settle a call with so many tokens."""
    usage = pb.Usage(input_tokens=tokens, output_tokens=0)
    pod.stub.Settle(pb.SettleRequest(hold_id=answer.hold_id, usage=usage), timeout=10)


def test_limits_of_all_windows_hold_at_once(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G1: each call is in nine budgets; whichever is the tightest, both together get all of it."""
    tight = {
        f"by_{window}": limit(
            f'principal.id == "{window}" ? {TIGHT} : {WIDE}',
            window=window, per="principal.id", reason=f"BY_{window.upper()}",
        )
        for window in Window
    }  # fmt: skip
    two = [pods(number, postgres, rules=minimal(tmp_path / "all", **tight)) for number in (1, 2)]

    def both(window: Window) -> Counter[str]:
        return together(two, TIGHT, window)

    with ThreadPoolExecutor(3) as pool:
        results = dict(zip(Window, pool.map(both, Window), strict=True))
    expected = {
        window: Counter({"allow": TIGHT, f"BY_{window.upper()}": TIGHT}) for window in Window
    }
    assert results == expected


def test_a_hold_is_settled_after_its_sidecar_was_started_anew(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """What was held and not used is there for the others then."""
    rules = minimal(tmp_path / "tokens", tokens=limit("1000", meter="tokens"))
    first, second = (pods(number, postgres, rules=rules) for number in (1, 2))
    answers = [first.stub.Authorize(chat(tester(), model="small-1"), timeout=10) for _ in range(3)]
    use_up(second, tmp_path / "2.sqlite", 2)
    first.stop(signal.SIGKILL)
    first.restart()
    for answer in answers:
        settle(first, answer, 50)
    use_up(second, tmp_path / "2.sqlite", 4)  # 3 * 50 + 4 * 200 of 1000
    assert patient_call(first) == "TOO_MUCH"


def rules_of(folder: Path, ceiling: int) -> Path:
    """Write the policies with another ceiling."""
    return minimal(folder, daily=limit(str(ceiling)))


def reload(pod: RunningSidecar, ceiling: int) -> None:
    """Give a sidecar another ceiling while it runs."""
    rules_of(pod.policies, ceiling)
    assert pod.process is not None
    pod.process.send_signal(signal.SIGHUP)

    def has_it() -> bool:
        request = pb.GetBudgetsRequest(principal=tester(), model="small-1")
        return bool(pod.stub.GetBudgets(request, timeout=10).budgets[0].ceiling == ceiling)

    eventually(has_it)


def test_ceilings_differ_and_change_while_sidecars_run(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """All together get the highest; a sidecar with a lower one stops when all have reached that."""
    low = pods(1, postgres, rules=rules_of(tmp_path / "low", 40))
    high = pods(2, postgres, rules=rules_of(tmp_path / "high", 70))
    assert together([low], 50) == Counter(allow=40, TOO_MUCH=10)
    assert together([high], 40) == Counter(allow=30, TOO_MUCH=10)
    assert patient_call(low) == "TOO_MUCH"
    reload(low, 90)
    assert patient_call(high) == "TOO_MUCH"
    eventually(lambda: call(low) == "allow")
    assert together([low], 30) == Counter(allow=19, TOO_MUCH=11)
    reload(high, 50)
    reload(low, 50)
    assert together([low, high], 10) == Counter(TOO_MUCH=20)
    assert held(tmp_path / "1.sqlite") + held(tmp_path / "2.sqlite") == 90


def test_a_ceiling_that_falls_is_kept_by_shares_that_are_larger(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G1: what was granted under a higher ceiling, and is not used, admits nothing under a lower."""
    two = [
        pods(number, postgres, rules=rules_of(tmp_path / f"p{number}", 500)) for number in (1, 2)
    ]
    assert together(two, 30) == Counter(allow=60)
    for pod in two:
        reload(pod, 80)
    assert together(two, 40) == Counter(allow=20, TOO_MUCH=60)


@pytest.mark.parametrize("amount", [-40, 40])
def test_an_adjustment_counts_at_all_sidecars_while_they_run(
    postgres: PostgresPlace, pods: Start, tmp_path: Path, amount: int
) -> None:
    """More room is used by both together; less is taken from what no share has, and then kept."""
    two = [
        pods(number, postgres, rules=rules_of(tmp_path / f"p{number}", 100)) for number in (1, 2)
    ]
    assert together(two, 20) == Counter(allow=40)
    owner = tmp_path / "owner.url"
    owner.write_text(postgres.server.url(postgres.database, OWNER))
    code, _, err = sidecar(
        "fleet", "adjust", "--fleet-url-file", owner, "--rule", "daily", "--scope", "lab",
        f"--amount={amount}", "--by", "ada@example.com", "--reason", "a test",
    )  # fmt: skip
    assert code == 0, err

    def used_up() -> bool:
        return together(two, 10).keys() == {"TOO_MUCH"}

    eventually(used_up, 30)
    admitted = held(tmp_path / "1.sqlite") + held(tmp_path / "2.sqlite")
    free = 100 - amount
    assert admitted == free if amount < 0 else free <= admitted <= 100


def test_a_limit_in_shadow_denies_nothing_and_waits_for_nothing(
    own_place: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """Above its ceiling, over several sidecars, and where the books are away."""
    shadow = limit("5", extra="// mode: shadow\n")
    rules = minimal(tmp_path / "shadow", planned=shadow, daily=limit(str(CEILING)))
    two = [pods(number, own_place, rules=rules) for number in (1, 2)]
    assert together(two, 20) == Counter(allow=40)
    roomy = limit(str(CEILING), extra="// mode: shadow\n")
    only = pods(3, own_place, rules=minimal(tmp_path / "only", planned=shadow, roomy=roomy))
    assert calls(only, 10) == Counter(allow=10)
    own_place.server.stop()
    assert calls(only, 100) == Counter(allow=100)


def test_what_one_ceiling_has_no_room_for_another_may_have(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """G9: while others are denied under a lower ceiling all the time, too."""
    ceilings = limit(f'principal.id == "vip" ? {WIDE} : {TIGHT}')
    pod = pods(1, postgres, rules=minimal(tmp_path / "ranks", daily=ceilings))
    use_up(pod, tmp_path / "1.sqlite", TIGHT)
    with ThreadPoolExecutor(2) as pool:
        denied = [pool.submit(call, pod) for _ in range(200)]
        assert calls(pod, 20, "vip") == {"allow": 20}
        assert Counter(one.result() for one in denied) == {"TOO_MUCH": 200}


def test_a_limit_without_a_ceiling_is_not_in_the_books(
    postgres: PostgresPlace, pods: Start, tmp_path: Path
) -> None:
    """Nor when its calls are settled: its ledger alone counts it."""
    rules = minimal(tmp_path / "open", daily=limit("300"), endless=limit("unlimited"))
    pod = pods(1, postgres, rules=rules)
    answer = pod.stub.Authorize(chat(tester(), model="small-1"), timeout=10)
    settle(pod, answer, 50)
    pod.stop()
    assert [row["rule"] for row in postgres.sql("SELECT rule FROM fleet_budget")] == ["daily"]
