"""The use of keys over a fleet: what sidecars report, and what an audit reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleet.places import FleetHolder, PostgresPlace
from fleet.postgres_server import PostgresServer
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar
from support.operator_ledger import NOON, OperatorLedger, operator_ledger
from support.policies import limit as limit_of
from support.policies import minimal
from support.reservations import limit, reservation
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.domain.keys import KeyName, KeyUse
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.key_usage import SILENT_US, FleetKeyFacts, KeyReporter, read
from sidecar.ledger.key_reports import KeyFacts, read_keys

KEYS = """
keys:
  first-key: {workspace: lab, owner: ada, created: 2026-11-01}
  second-key: {workspace: lab, owner: ada, created: 2026-11-01}
  no-key: {workspace: lab, owner: ada, created: 2026-11-01}
"""
HOSTILE = "[b]x[/] :cat:\x1b[2J\u202e\nFORGED"

Start = Callable[..., RunningSidecar]


def no_versions(*_: object) -> dict[str, tuple[int, int]]:
    """Return the uses of versions in rotation: none."""
    return {}


class Reports:
    """Holders with ledgers, whose use of keys is reported to one place."""

    def __init__(self, place: PostgresPlace) -> None:
        """Begin without any."""
        self.place = place
        self._reporters: list[tuple[BooksConnection, KeyReporter]] = []

    def reporter(
        self, facts: Callable[[], KeyFacts], uid: str = "", name: str = "pod"
    ) -> KeyReporter:
        """Return the reporter of one more holder, with what its ledger has."""
        holder = FleetHolder(self.place, uid, name)
        holder.tell()
        connection = BooksConnection(self.place.url_file)
        reporter = KeyReporter(connection, holder.uid, facts, no_versions)
        self._reporters.append((connection, reporter))
        return reporter

    def report(self, reporter: KeyReporter, *, leaving: bool = False) -> bool:
        """Report."""
        return self.place.run(reporter.report(leaving=leaving))

    def read(self) -> FleetKeyFacts:
        """Read what all have reported."""
        return self.place.run(read(self.place.url_file))

    def close(self) -> None:
        """Close the connections."""

        async def close() -> None:
            for connection, _ in self._reporters:
                connection.close()

        self.place.run(close())


@pytest.fixture
def reports(postgres: PostgresPlace) -> Any:
    """See Reports."""
    made = Reports(postgres)
    yield made
    made.close()


def track(opened: OperatorLedger, *keys: str, since_us: int = NOON) -> None:
    """Count the use of keys from a time on."""
    opened.run(opened.ledger.track(keys, since_us))


def facts_of(opened: OperatorLedger) -> Callable[[], KeyFacts]:
    """Return what reads the keys of a ledger."""
    return lambda: read_keys(opened.path, NOON)


def test_the_use_of_a_key_is_the_sum_over_all_sidecars(reports: Reports, tmp_path: Path) -> None:
    """G10: by key, model and effect, with the first and the last; a repeat counts nothing twice."""
    with operator_ledger(tmp_path / "1") as one, operator_ledger(tmp_path / "2") as two:
        track(one, "KEY", "OTHER", since_us=NOON - 5)
        track(two, "KEY", since_us=NOON - 3)
        first, second = reports.reporter(facts_of(one)), reports.reporter(facts_of(two))
        one.spend(NOON, key_id="KEY")
        two.spend(NOON + 1, key_id="KEY")
        for reporter in (first, second, first, second):
            assert reports.report(reporter)
        one.spend(NOON + 2, key_id="KEY")
        two.decide(reservation(NOON + 3, limit(0), key_id="KEY"))
        for reporter in (first, second):
            reports.report(reporter)
    found = reports.read()
    assert found.since_us == {"KEY": NOON - 5, "OTHER": NOON - 5}
    assert found.uses == [
        KeyUse(KeyName("KEY", 0), "small-1", True, NOON, NOON + 2, 3),
        KeyUse(KeyName("KEY", 0), "small-1", False, NOON + 3, NOON + 3, 1),
    ]


def test_a_sidecar_that_does_not_report_is_named(reports: Reports, tmp_path: Path) -> None:
    """It may have used keys since; not one that has left, or that an operator has signed for."""
    with operator_ledger(tmp_path / "1") as opened:
        names = ("silent", "left", "gone", "live")
        silent, left, gone, live = (
            reports.reporter(facts_of(opened), f"uid-{name}", name) for name in names
        )
        for reporter in (silent, gone):
            assert reports.report(reporter)
        reports.report(left, leaving=True)
        reports.place.sql(
            f"UPDATE fleet_holder SET keys_us = keys_us - {SILENT_US}",
            "UPDATE fleet_holder SET forgotten_us = 1 WHERE name = 'gone'",
        )
        reports.report(live)
        assert [(one.uid, one.name) for one in reports.read().silent] == [("uid-silent", "silent")]
        reports.report(left)
        reports.place.sql(f"UPDATE fleet_holder SET keys_us = keys_us - {SILENT_US}")
        assert {one.name for one in reports.read().silent} == {"silent", "left", "live"}


def test_a_report_before_the_first_exchange_is_repeated_soon(
    reports: Reports, tmp_path: Path
) -> None:
    """The books do not have the holder yet."""
    with operator_ledger(tmp_path / "1") as opened:
        reporter = reports.reporter(facts_of(opened), "uid")
        reports.place.sql("DELETE FROM fleet_holder")
        assert not reports.report(reporter)


def test_the_use_of_keys_is_reported_once_the_books_answer_again(
    own_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once that it is not."""
    place = PostgresPlace(own_server, tmp_path / "url")
    reports = Reports(place)
    with operator_ledger(tmp_path / "1") as opened:
        track(opened, "KEY")
        reporter = reports.reporter(facts_of(opened))
        opened.spend(NOON, key_id="KEY")
        own_server.stop()
        for _ in range(3):
            reports.report(reporter)
        assert [record.message for record in caplog.records] == [
            "the fleet does not hear of the use of keys for now: connection refused:"
            " there is no such socket"
        ]
        own_server.start()
        reports.report(reporter)
    assert [use.decisions for use in reports.read().uses] == [1]
    reports.close()
    place.close()


def test_hostile_names_are_reported_as_others_are(reports: Reports) -> None:
    """A column of PostgreSQL takes no NUL: two names that differ by one are counted together."""
    names = (HOSTILE, "a\0", "a\ufffd")
    uses = [KeyUse(KeyName(name, 0), "small-1", True, NOON, NOON, 1) for name in names]
    facts = KeyFacts(NOON, dict.fromkeys(names, NOON), uses, [], 0)
    assert reports.report(reports.reporter(lambda: facts))
    found = reports.read()
    assert {str(use.name): use.decisions for use in found.uses} == {HOSTILE: 1, "a\ufffd": 2}
    assert found.since_us.keys() == {HOSTILE, "a\ufffd"}


def test_an_audit_finds_what_other_sidecars_use(
    postgres: PostgresPlace, tmp_path: Path, start_sidecar: Start
) -> None:
    """What each has used until it left; and it says which may have used more since."""
    policies = minimal(tmp_path / "policies", keys_yaml=KEYS, daily=limit_of("100"))
    fleet = ("--fleet-url-file", str(postgres.url_file))
    for number, key in enumerate(("first-key", "second-key")):
        pod = start_sidecar(policies, *fleet, ledger=tmp_path / f"{number}.sqlite")
        request = chat(tester(key_id=key), model="small-1")
        answer: pb.AuthorizeResponse = pod.stub.Authorize(request, timeout=10)
        assert answer.effect == pb.EFFECT_ALLOW
        assert pod.stop() == 0
    arguments = ("--policies", policies, "--ledger", tmp_path / "0.sqlite")
    audit = ("keys", "audit", *arguments, "--unused-days", "0", "--format", "json")

    def never_used(*more: str) -> tuple[list[str], Any]:
        code, out, err = sidecar(*audit, *more)
        report = json.loads(out)
        assert (code, err) == (1, "")
        found = [one["key"] for one in report["findings"] if one["kind"] == "never-used"]
        return found, report.get("silent_sidecars")

    assert never_used() == (["no-key", "second-key"], None)
    assert never_used(*fleet) == (["no-key"], [])
    code, out, _ = sidecar("keys", "list", *arguments, *fleet, "--format", "json")
    assert (code, [one["calls"] for one in json.loads(out)]) == (0, [1, 0, 1])
    FleetHolder(postgres, "hostile-uid", HOSTILE).tell()
    code, out, err = sidecar("keys", "audit", *arguments, *fleet, COLUMNS="200")
    assert "(hostile-uid) did not report for two minutes" in err
    assert not {c for c in out + err if not (c.isprintable() or c == "\n")}
    assert not [line for line in (out + err).splitlines() if line.startswith("FORGED")]
