"""The benchmark of a fleet works; what it measures is for `make bench-fleet` to say."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.tools import needed

from bench.fleet import __main__ as bench_fleet
from bench.fleet.figures import Figure, Section, compared, markdown
from bench.fleet.plan import FAST
from sidecar.cli.terminal import say_json

TINY = replace(
    FAST,
    warm_up_seconds=0.2,
    seconds=0.2,
    processes=1,
    calls_together=100,
    calls_alone=30,
    sidecars=1,
    kills=1,
    load_before_kills_seconds=0.3,
    holders=20,
    exchange_seconds=0.2,
    idle_seconds=0,
    drain_seconds=0.7,
    drained_seconds=0.7,
)


def test_every_part_measures_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In miniature: on a real PostgreSQL, with real sidecars; and its table has all of it."""
    with needed():
        sections = list(bench_fleet.run(TINY, tmp_path))
    figures = {one.name: one.value for section in sections for one in section.figures}
    assert len(sections) == len(bench_fleet.PARTS)
    assert {"decisions of a fleet", "decisions of a fleet, settled"} <= figures.keys()
    for name in ("exchanges", "one sidecar, 64 in flight: CPU", "used at the first refusal"):
        assert figures[name] > 0, name
    assert figures["used at most, at any moment"] <= 100
    lines = list(markdown(sections))
    assert len(lines) == 2 + len(sections) + sum(len(it.figures) for it in sections)
    say_json(bench_fleet.document(sections))
    assert '"is_met"' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_aim_is_for_the_ratio_where_there_is_one() -> None:
    """And is at least or at most what it names."""
    met = compared("decisions", 2_000, "/s", "a row", 100, at_least=10)
    missed = compared("CPU", 110, "µs", "alone", 100, at_most=1.05)
    rows = list(markdown([Section("some", [met, missed, Figure("memory", 9, "MB", at_most=12)])]))
    assert rows[3] == "| decisions | 2,000 /s | a row: 100 /s | 20.0 x | ≥ 10 x: met |"
    assert rows[4] == "| CPU | 110 µs | alone: 100 µs | 1.10 x | ≤ 1.05 x: **missed** |"
    assert rows[5] == "| memory | 9.00 MB |  |  | ≤ 12 MB: met |"
