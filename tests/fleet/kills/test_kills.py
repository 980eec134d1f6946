"""A fleet under kill -9, for half a minute; `make fleet-kills` does it for many."""

from pathlib import Path

from fleet.kills.kill_run import KillRun, Plan
from support.tools import needed


def test_kills_of_sidecars_and_of_postgresql_lose_no_answer_and_pass_no_ceiling(
    tmp_path: Path,
) -> None:
    """G1 to G9: with ledgers kept and lost, processes frozen, and PostgreSQL away for seconds.

    By the clients' own records: no budget, rate or number at once is passed, each answer is in
    its ledger, a repeat is answered alike, and what was UNAVAILABLE is recorded nowhere.
    """
    plan = Plan(pods=12, servers=2, sidecars=4, seed=3, ceiling_usd=0.3, life_seconds=(0.5, 3.0))
    with needed():
        kill_run = KillRun(plan, tmp_path)
    assert kill_run.run(lambda _: None) == []
    assert (kill_run.fates.kills, kill_run.server_kills) == (12, 2)
    assert 0 < kill_run.fates.lost < 12
    assert sum(call.allowed for call in kill_run.calls) > 50
    assert any(call.denied for call in kill_run.calls)
    assert any(call.unreachable for call in kill_run.calls)
