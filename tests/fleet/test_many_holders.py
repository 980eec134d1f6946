"""Many holders of one budget: all get on, and the ceiling is the ceiling."""

import asyncio

from fleet.places import TOTAL, FleetHolder, PostgresPlace

HOLDERS, CONNECTIONS = 200, 8
CEILING = 2500


def test_200_holders_use_up_one_budget_together(postgres: PostgresPlace) -> None:
    """G1: each gets a share, with calls and wishes at the same time, and none of it is left over."""
    books = [postgres.open() for _ in range(CONNECTIONS)]
    holders = [FleetHolder(postgres, f"holder-{number:03}") for number in range(HOLDERS)]
    for number, holder in enumerate(holders):
        holder.books = books[number % CONNECTIONS]

    async def round_of(need: int, wish: int) -> int:
        """Let all ask at once; return how many got what they needed."""

        async def ask(holder: FleetHolder) -> bool:
            before = holder.have.get(TOTAL, 0)
            await holder.send(holder.says(holder.item(need, wish, ceiling=CEILING)))
            return holder.have[TOTAL] >= before + need

        return sum(await asyncio.gather(*map(ask, holders)))

    assert postgres.run(round_of(5, 20)) == HOLDERS
    total = sum(postgres.granted(TOTAL).values())
    assert HOLDERS * 5 < total <= CEILING
    assert 0 < postgres.run(round_of(5, 0)) < HOLDERS
    granted = postgres.granted(TOTAL)
    assert CEILING - 5 < sum(granted.values()) <= CEILING
    assert granted == {holder.uid: holder.have[TOTAL] for holder in holders}
    [row] = postgres.sql("SELECT count(*) AS live FROM fleet_holder WHERE version = 2")
    assert row["live"] == HOLDERS
