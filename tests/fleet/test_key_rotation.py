"""Rotations of keys in a fleet: no key is revoked that any sidecar uses."""

import functools
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fleet.places import FleetHolder, PostgresPlace
from fleet.postgres_server import PostgresServer
from support.commands import sidecar
from support.mistral_admin import ADMIN_KEY, MistralAdmin, mistral_admin
from support.operator_ledger import operator_ledger
from support.policies import minimal
from support.reservations import limit
from support.rotations import HOUR_US, KEY, RotationHarness
from support.sidecar_process import RunningSidecar, eventually

from sidecar.domain.rotation import Stage
from sidecar.fleet import rotation
from sidecar.fleet.connection import BooksConnection
from sidecar.fleet.key_usage import SILENT_US, KeyReporter
from sidecar.keys.fleet_sidecars import FleetSidecars
from sidecar.keys.settings import RotationError, StillInUseError
from sidecar.ledger.key_reports import read_keys, read_version_uses
from sidecar.ledger.key_store import LeaseHeldError

Start = Callable[..., RunningSidecar]

OLD, NEW = f"{KEY}#1", f"{KEY}#2"


class Fleet:
    """A rotation by one ledger, and another sidecar that uses the key."""

    def __init__(self, place: PostgresPlace, folder: Path, mistral: MistralAdmin) -> None:
        """Register a key that a person made, of which the other sidecar has no version."""
        self.place = place
        self.rotating = RotationHarness(folder, mistral)
        self.rotating.others = FleetSidecars(place.url_file)
        self.rotating.put(mistral.has(KEY))
        self._file = folder / "other.sqlite"
        with operator_ledger(self._file):
            holder = FleetHolder(place, "other-uid", "other-pod")
            holder.tell()
        self._connection = BooksConnection(place.url_file)
        self._reporter = KeyReporter(
            self._connection,
            holder.uid,
            lambda: read_keys(self._file, 0),
            functools.partial(read_version_uses, self._file),
        )

    def use(self, version: str, hours_ago: float = 0) -> None:
        """Let the other sidecar use a version."""
        at_us = self.rotating.now_us() - round(hours_ago * HOUR_US)
        with operator_ledger(self._file) as opened:
            opened.hold(at_us, limit(None), key_id=version)

    def report(self) -> None:
        """Let it report."""
        assert self.place.run(self._reporter.report())

    def pass_hours(self, hours: float) -> None:
        """Let time pass for the rotation, in which the other sidecar has reported all it used."""
        us = round(hours * HOUR_US)
        self.rotating.ahead_us += us
        self.place.sql(
            f"UPDATE fleet_rotation SET since_us = since_us - {us}, until_us = until_us - {us}"
        )
        self.report()

    def rotate(self, *, force: bool = False) -> Stage:
        """Rotate, or go on; return the stage that it has come to."""
        return self.rotating.rotate(force=force).stage

    def close(self) -> None:
        """Close what is open."""

        async def close() -> None:
            self._connection.close()

        self.place.run(close())
        self.rotating.close()


@pytest.fixture
def mistral() -> Iterator[MistralAdmin]:
    """A stand-in for Mistral, which does not tell when keys are used."""
    with mistral_admin() as started:
        started.tells_uses = False
        yield started


@pytest.fixture
def fleet(postgres: PostgresPlace, tmp_path: Path, mistral: MistralAdmin) -> Iterator[Fleet]:
    """See Fleet."""
    made = Fleet(postgres, tmp_path, mistral)
    yield made
    made.close()


def test_a_key_that_another_sidecar_uses_is_not_revoked(fleet: Fleet) -> None:
    """Its first use of the new key ends the grace period, and its last use of the old counts."""
    assert fleet.rotate() is Stage.SWITCHED
    fleet.use(NEW)
    fleet.pass_hours(1.5)
    fleet.use(OLD, hours_ago=0.1)
    fleet.report()
    with pytest.raises(StillInUseError):
        fleet.rotate()
    fleet.pass_hours(0.5)
    with pytest.raises(StillInUseError):
        fleet.rotate()
    fleet.pass_hours(0.5)
    assert fleet.rotate() is Stage.DONE
    assert fleet.rotating.states == {1: "revoked", 2: "active"}


def test_a_key_is_not_revoked_before_its_use_is_known(fleet: Fleet) -> None:
    """Sidecars have told of both versions for as long as the old key has to be unused."""
    assert fleet.rotate() is Stage.SWITCHED
    fleet.use(NEW)
    fleet.pass_hours(1.5)
    fleet.place.sql("UPDATE fleet_rotation SET old_version = 'another'")
    assert fleet.rotate() is Stage.SWITCHED
    fleet.pass_hours(0.9)
    assert fleet.rotate() is Stage.SWITCHED
    fleet.pass_hours(0.2)
    assert fleet.rotate() is Stage.DONE


def test_a_silent_sidecar_keeps_the_old_key_alive(fleet: Fleet) -> None:
    """It is named; until it is heard of, or signed for, or silent for longer than any grace."""
    assert fleet.rotate() is Stage.SWITCHED
    fleet.use(NEW)
    fleet.pass_hours(1.5)
    fleet.place.sql(f"UPDATE fleet_holder SET keys_us = keys_us - {SILENT_US}")
    with pytest.raises(RotationError, match=r"other-pod \(other-uid\).*sidecar fleet forget"):
        fleet.rotate()
    assert fleet.rotating.states == {1: "grace", 2: "active"}
    fleet.place.sql(f"UPDATE fleet_holder SET seen_us = seen_us - {24 * HOUR_US}")
    assert fleet.rotate() is Stage.DONE


def test_force_revokes_a_key_that_a_silent_sidecar_may_use(fleet: Fleet) -> None:
    """As it does one that is in use."""
    assert fleet.rotate() is Stage.SWITCHED
    fleet.use(NEW)
    fleet.pass_hours(1.5)
    fleet.place.sql(f"UPDATE fleet_holder SET keys_us = keys_us - {SILENT_US}")
    assert fleet.rotate(force=True) is Stage.DONE


def test_uses_before_a_rotation_was_known_of_are_reported_too(fleet: Fleet) -> None:
    """Those since the report before, which did not know which versions matter."""
    fleet.report()
    fleet.use(OLD)
    assert fleet.rotate() is Stage.SWITCHED
    fleet.report()
    uses = fleet.place.run(rotation.version_uses(fleet.place.url_file, KEY, OLD, NEW, 24 * HOUR_US))
    assert uses.old_last_us is not None
    assert uses.new_first_us is None


def test_one_process_of_a_fleet_rotates_a_key(fleet: Fleet, mistral: MistralAdmin) -> None:
    """Another neither begins nor goes on, until the claim has lapsed."""
    url_file, made = fleet.place.url_file, mistral.seen["create"]
    assert fleet.place.run(rotation.claim(url_file, KEY, "another", HOUR_US)) == "another"
    with pytest.raises(LeaseHeldError, match="another is rotating it, in the same fleet"):
        fleet.rotate()
    assert (fleet.rotating.key_store.rotations(), mistral.seen["create"]) == ([], made)
    fleet.pass_hours(1)
    assert fleet.rotate() is Stage.SWITCHED
    assert fleet.place.run(rotation.claim(url_file, KEY, "another", HOUR_US)) == "another"
    with pytest.raises(LeaseHeldError):
        fleet.rotate()


def test_without_the_books_no_rotation_begins(
    own_server: PostgresServer, tmp_path: Path, mistral: MistralAdmin
) -> None:
    """Nor is anything made at Mistral."""
    fleet = Fleet(PostgresPlace(own_server, tmp_path / "url"), tmp_path, mistral)
    own_server.stop()
    with pytest.raises(RotationError, match="the fleet's books cannot be asked"):
        fleet.rotate()
    assert fleet.rotating.key_store.rotations() == []
    own_server.start()
    assert fleet.rotate() is Stage.SWITCHED
    fleet.close()
    fleet.place.close()


def test_sidecars_that_serve_rotate_one_at_a_time(
    postgres: PostgresPlace, tmp_path: Path, mistral: MistralAdmin, start_sidecar: Start
) -> None:
    """By `--rotate-keys-days`, too: it asks the same books."""
    mistral.has(KEY).created_at -= timedelta(days=100)
    keys = f"keys: {{{KEY}: {{workspace: lab, owner: ada, created: 2026-01-01}}}}"
    (tmp_path / "admin.key").write_text(ADMIN_KEY)
    (tmp_path / "pepper").write_text("a pepper of 16 bytes")
    (tmp_path / "pepper").chmod(0o600)
    claim = rotation.claim(postgres.url_file, KEY, "another", HOUR_US)
    assert postgres.run(claim) == "another"
    pod = start_sidecar(
        minimal(tmp_path / "policies", keys_yaml=keys),
        "--fleet-url-file", str(postgres.url_file), "--rotate-keys-days", "90",
        "--look-seconds", "0.05", "--key-pepper-file", str(tmp_path / "pepper"),
        "--mistral-url", mistral.url, "--mistral-admin-key-file", str(tmp_path / "admin.key"),
        "--key-sink", f"file:{tmp_path}/key.json", "--propagation-seconds", "0",
    )  # fmt: skip
    eventually(lambda: mistral.seen["list"] >= 6, 30)  # more than one look has two of
    assert len(mistral.live) == 1
    postgres.sql("UPDATE fleet_rotation SET until_us = 0")
    eventually(lambda: len(mistral.live) == 2, 30)
    pod.stop()
    assert f"{KEY}: another is rotating it, in the same fleet" in pod.log


@pytest.mark.parametrize("command", ["rotate", "rollback", "abort"])
def test_a_ledger_in_a_fleet_is_refused_without_the_books(command: str, tmp_path: Path) -> None:
    """The error names the flag; a file without a URL of books is refused with it."""
    ledger, url_file = tmp_path / "ledger.sqlite", tmp_path / "url"
    with operator_ledger(ledger):
        pass
    connection = sqlite3.connect(ledger)
    connection.execute("INSERT INTO holder VALUES (1, 'uid', 'fleet', 1, 1, 0, 0)")
    connection.commit()
    connection.close()
    for name in ("admin.key", "pepper"):
        (tmp_path / name).write_text("a secret of 16 bytes")
    arguments = (
        "keys", command, KEY, "--ledger", ledger, "--key-sink", f"file:{tmp_path}/key.json",
        "--mistral-admin-key-file", tmp_path / "admin.key", "--key-pepper-file", tmp_path / "pepper",
    )  # fmt: skip
    code, out, err = sidecar(*arguments)
    assert (code, out) == (2, "")
    assert "is in a fleet, whose other sidecars use the key, too: give --fleet-url-file" in err
    url_file.write_text("mysql://pod:hunter2@127.0.0.1/books")
    code, out, err = sidecar(*arguments, "--fleet-url-file", url_file)
    assert (code, out, "hunter2" in err) == (2, "", False)
    assert "is not a URL such as" in err
