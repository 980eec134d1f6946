"""Exchanges a second of many holders that all ask for shares of one budget."""

from itertools import chain

from fleet.postgres_server import PostgresServer

from bench.fleet import many_holders
from bench.fleet.books import books
from bench.fleet.figures import Figure, Section, compared
from bench.fleet.many_holders import ManyJob
from bench.fleet.plan import Plan
from bench.fleet.workers import together
from sidecar.domain.clock import SECOND_US
from sidecar.domain.sharing import period_us

PROCESSES, CONNECTIONS = 4, 16


def measure(plan: Plan, server: PostgresServer) -> Section:
    """Let all ask in turn for some time."""
    each = plan.holders // PROCESSES
    with books(server) as made:
        jobs = [
            ManyJob(
                made.url_file, each * number, each, CONNECTIONS // PROCESSES, plan.exchange_seconds
            )
            for number in range(PROCESSES)
        ]
        took_ms = sorted(chain.from_iterable(together(many_holders.run, jobs)))
    per_second = len(took_ms) / plan.exchange_seconds
    needed = plan.holders * SECOND_US / period_us(plan.holders)
    name = f"needed, one each {period_us(plan.holders) / SECOND_US:g} s"
    return Section(
        f"{plan.holders:,} holders that ask for one hot budget, {CONNECTIONS} connections",
        [
            compared("exchanges", per_second, "/s", name, needed, at_least=1.0),
            Figure("p50 of an exchange", took_ms[len(took_ms) // 2], "ms"),
            Figure("p99 of an exchange", took_ms[int(len(took_ms) * 0.99)], "ms"),
        ],
    )
