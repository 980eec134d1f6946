"""The tables of a run, and its aims."""

import dataclasses
import json

from bench.__main__ import document
from bench.disk import Writes
from bench.groups import Groups
from bench.load import PAIR, SETTLE, STREAM, UNARY, Row
from bench.report import tables
from bench.results import CERBOS, EMPTY, PLAIN, YARDSTICK, Results, Start
from bench.soak import Sample, SoakResult
from sidecar.cli.tables import console

FULL = "100,000 rows before"
CPU = {EMPTY: 200.0, PLAIN: 600.0, YARDSTICK: 500.0, CERBOS: 300.0, FULL: 630.0}


def row(server: str, rpc: str, in_flight: int) -> Row:
    """Return a row of 2 ms and of a server's CPU."""
    return Row(server, rpc, in_flight, 500, CPU[server], 1_500, 2.0, 1.9, 4.0, 5.0, 80)


def results(*others: str) -> Results:
    """Return the results of a run with these servers beside ours."""
    rows = [
        row(server, rpc, in_flight)
        for rpc in (UNARY, SETTLE, PAIR)
        for in_flight in (64, 1)
        for server in (EMPTY, PLAIN, *others)
    ]
    rows += [row(FULL, UNARY, 64), row(PLAIN, STREAM, 64), row(FULL, STREAM, 64)]
    starts = [Start(server, 0.5, 79.0) for server in (EMPTY, PLAIN, "50 more rules", FULL)]
    soaked = SoakResult(80, [Sample(15, 9_000, 85)], 9_000, 9_000, 1_500, 54.0, 3.0)
    writes = [Writes(PLAIN, UNARY, 64, 2_000, 9_000, 1_100, None)]
    return Results(FULL, rows, starts, 0.5, writes, [Groups(64, 30, 60.0, 5.0)], soaked)


def text(found: Results) -> str:
    """Return all tables as they are printed."""
    screen = console()
    with screen.capture() as capture:
        for table in tables(found):
            screen.print(table)
    return capture.get()


def test_servers_that_are_missing_are_left_out() -> None:
    """Without Redis and Cerbos, the tables have the rest, and no aim compares with them."""
    shown = text(results())
    assert YARDSTICK not in shown
    assert CERBOS not in shown
    assert "CPU, to the empty handler's" in shown
    assert "CPU, to grpcio + Redis" in text(results(YARDSTICK))
    assert "CPU, to Cerbos'" in text(results(CERBOS))


def test_the_wait_for_the_disk_is_taken_off_where_there_is_one() -> None:
    """Once of a call, twice of a pair, and not of servers that write nothing."""
    found = {
        (it.server, it.rpc): it.without_fdatasync_ms
        for it in results(YARDSTICK, CERBOS).latencies()
    }
    assert found[PLAIN, UNARY] == found[YARDSTICK, SETTLE] == 1.5
    assert found[PLAIN, PAIR] == 1.0
    assert found[EMPTY, UNARY] == found[CERBOS, PAIR] == 2.0


def test_an_aim_is_met_or_missed() -> None:
    """3.0 times the CPU of the empty handler is more than 1.8; 5 % more with rows before is met."""
    aims = {it["name"]: it for it in document(results(YARDSTICK, CERBOS))["aims"]}
    cpu = aims["unary, 64 in flight: CPU, to the empty handler's"]
    assert (cpu["measured"], cpu["is_met"]) == (3.0, False)
    assert aims[f"unary: CPU with {FULL}, to none"]["is_met"]
    assert not aims["longest wait under load"]["is_met"]


def test_the_json_has_what_the_tables_have() -> None:
    """Every part of the results, with the aims beside them."""
    found = json.loads(json.dumps(document(results(YARDSTICK)), allow_nan=False))
    assert found.keys() == {*(it.name for it in dataclasses.fields(Results)), "aims"}
    assert found["rows"][0]["cpu_us_per_call"] == 200.0
