"""Rotations: apps always have a key that works, and no key is left unrecorded."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.commands import sidecar
from support.mistral_admin import Fault, MistralAdmin, mistral_admin
from support.reservations import reservation
from support.rotations import HOUR_US, KEY, QUICK, RotationHarness

from sidecar.domain.alerts import DeliveryOutcome
from sidecar.domain.clock import SECOND_US
from sidecar.domain.rotation import LEFT_FOR_LATER, STILL_IN_USE, KeyRotation, Stage
from sidecar.keys import mistral as client
from sidecar.keys.pepper import Pepper
from sidecar.keys.secret import Secret
from sidecar.keys.settings import NewKeySpec, RotationError, StillInUseError
from sidecar.keys.sinks.file import FileSink
from sidecar.keys.sinks.sink import SinkError
from sidecar.ledger.key_store import LeaseHeldError, RotationRefusedError
from sidecar.ledger.sqlite import SqliteLedger

Open = Callable[..., RotationHarness]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits between attempts."""
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def server() -> Iterator[MistralAdmin]:
    """A stand-in for Mistral."""
    with mistral_admin() as started:
        yield started


@pytest.fixture
def open_harness(tmp_path: Path, server: MistralAdmin) -> Iterator[Open]:
    """Open sidecars with ledgers of their own, and one sink."""
    opened: list[RotationHarness] = []

    def open_one(name: str = "sidecar") -> RotationHarness:
        opened.append(RotationHarness(tmp_path, server, name))
        return opened[-1]

    yield open_one
    for harness in opened:
        harness.close()
        for path in tmp_path.iterdir():
            text = path.read_bytes()
            for secret in server.secrets:
                assert path.name.startswith("key.json") or secret.encode() not in text


@pytest.fixture
def harness(open_harness: Open, server: MistralAdmin) -> Iterator[RotationHarness]:
    """One sidecar, and a key that a person made; the app's key works at every moment."""
    one = open_harness()
    one.put(server.has(KEY, description="Dev team"))
    broken: list[str] = []

    def look() -> None:
        if one.app is None:
            broken.append("the app has no key that works")

    server.changed = look
    yield one
    assert broken == []


def use(server: MistralAdmin, harness: RotationHarness, which: int) -> None:
    """Use a key now, at the sidecar's time."""
    key = list(server.keys.values())[which]
    key.last_used_at = datetime.now(UTC) + timedelta(microseconds=harness.ahead_us)


def pass_time(harness: RotationHarness, hours: float) -> None:
    """Move the sidecar's clock forward."""
    harness.ahead_us += round(hours * HOUR_US)


def test_a_rotation_goes_through_its_stages_in_order(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """The new key is like the old one; the old one lives until its grace has passed."""
    assert harness.rotate().stage is Stage.SWITCHED
    assert harness.states == {1: "grace", 2: "active"}
    old, new = server.live
    assert harness.app is new
    assert new.fields["workspace_uuid"] == old.fields["workspace_uuid"]
    pass_time(harness, 24)
    assert harness.rotate().stage is Stage.DONE
    assert (server.live, harness.states) == ([new], {1: "revoked", 2: "active"})
    names = [line.partition(":")[0] for line in harness.steps if "unfinished" not in line]
    stages = ("creating", "created", "verified", "storing", "stored", "switched", "revoking")
    assert names == [f"#2 {stage}" for stage in (*stages, "done")]


def test_without_waiting_apps_get_their_time_from_a_later_run(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """It stops where it would wait, which is no interruption; the old version stays active."""
    harness.timings = replace(QUICK, propagation_seconds=3600.0)
    for _ in range(2):
        assert harness.rotate(waits=False).stage is Stage.STORED
    assert harness.states == {1: "active", 2: "pending"}
    assert [step.note for step in harness.key_store.steps(1)].count(LEFT_FOR_LATER) == 1
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", harness.folder / "sidecar.sqlite")
    assert (code, "interrupted" in out, "when apps have found the secret" in out) == (
        0,
        False,
        True,
    )
    pass_time(harness, 1)
    assert harness.rotate(waits=False).stage is Stage.SWITCHED
    assert len(server.live) == 2


@pytest.mark.parametrize(("how", "made"), [("lost", 2), (500, 1), ("reset", 1)])
def test_a_key_whose_secret_was_lost_is_revoked_and_replaced(
    how: int | str, made: int, harness: RotationHarness, server: MistralAdmin
) -> None:
    """Also if Mistral lists it later, and whether or not it was created."""
    server.faults.append(Fault("create", how))
    server.hidden_lists = 3
    assert harness.rotate().stage is Stage.SWITCHED
    assert (len(server.keys), server.most_live) == (1 + made, 2)
    assert harness.states == {1: "grace", 2: "revoked", 3: "active"}
    assert harness.app is server.live[-1]


def test_after_several_lost_secrets_the_rotation_gives_up(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """It leaves none of the keys behind."""
    server.faults.append(Fault("create", "lost", range(1, 99)))
    with pytest.raises(RotationError, match="3 new keys were lost"):
        harness.rotate()
    assert [key.name for key in server.live] == [KEY]
    assert (server.seen["create"], server.most_live) == (3, 2)
    assert harness.states[1] == "active"


def test_a_lost_key_that_shows_up_late_is_revoked_by_the_end(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """It was not found at first; its name is in the ledger."""
    server.faults.append(Fault("create", "lost"))
    server.hidden_lists = 30
    harness.rotate()
    assert len(server.live) == 3
    pass_time(harness, 24)
    for key in server.live:
        key.hidden_lists = 0
    assert harness.rotate().stage is Stage.DONE
    assert [key.name for key in server.live] == [harness.key_store.version(KEY, 3).name]
    notes = [step.note for step in harness.key_store.steps(1)]
    assert any("its secret is lost" in note for note in notes)


def test_a_key_that_does_not_work_yet_is_waited_for(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """No app gets it before it does, three times in a row."""
    server.refused_uses = 5
    harness.rotate()
    assert server.seen["models"] == 5 + 3


def test_a_key_that_never_works_is_given_up(harness: RotationHarness, server: MistralAdmin) -> None:
    """The old one stays, where it was."""
    server.refused_uses = 10**6
    with pytest.raises(RotationError, match="does not accept the new key"):
        harness.rotate()
    assert harness.states == {1: "active", 2: "revoked"}
    assert server.live == [harness.app]


@pytest.mark.parametrize(("status", "message"), [(401, "regenerate"), (403, "broader scope")])
def test_a_create_that_is_refused_changes_nothing(
    status: int, message: str, harness: RotationHarness, server: MistralAdmin
) -> None:
    """The error says what to do, and the next run starts again."""
    server.faults.append(Fault("create", status))
    with pytest.raises(RotationError, match=message):
        harness.rotate()
    assert harness.key_store.unfinished(KEY) is None
    assert harness.rotate().stage is Stage.SWITCHED


class BadSink(FileSink):
    """Fails before or after it has stored."""

    def __init__(self, path: Path, stores: bool) -> None:
        """Store all the same, or not."""
        super().__init__(path)
        self._stores = stores

    async def store(self, key_id: str, version: int, secret: Secret) -> None:
        """Fail."""
        if self._stores:
            await super().store(key_id, version, secret)
        raise SinkError("the vault is sealed")


def test_a_sink_that_refuses_gives_the_new_key_up(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Apps keep the old one."""
    harness.sink = BadSink(harness.folder / "key.json", stores=False)
    with pytest.raises(RotationError, match="the vault is sealed"):
        harness.rotate()
    assert server.live == [harness.app]
    assert harness.states == {1: "active", 2: "revoked"}


def test_a_store_whose_response_was_lost_counts_as_stored(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Apps may have the new key, so it is kept."""
    harness.sink = BadSink(harness.folder / "key.json", stores=True)
    assert harness.rotate().stage is Stage.SWITCHED
    assert harness.app is server.live[-1]


def test_the_grace_begins_with_the_first_use_of_the_new_key(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """The rotation's own test of the key is not a use."""
    harness.rotate()
    pass_time(harness, 3)
    assert harness.rotate().stage is Stage.SWITCHED
    use(server, harness, 1)
    assert harness.rotate().stage is Stage.SWITCHED
    pass_time(harness, 0.9)
    assert harness.rotate().stage is Stage.SWITCHED
    pass_time(harness, 0.2)
    assert harness.rotate().stage is Stage.DONE


def test_a_use_is_also_what_decisions_name(harness: RotationHarness, server: MistralAdmin) -> None:
    """As KEY#VERSION, where Mistral does not say when a key was used."""
    server.tells_uses = False
    harness.rotate()
    ledger = asyncio.run(_opened(harness))

    def decide(name: str) -> None:
        asyncio.run(ledger.decide(reservation(harness.now_us(), key_id=name)))

    try:
        decide(f"{KEY}#2")
        pass_time(harness, 1.5)
        decide(f"{KEY}#1")
        with pytest.raises(StillInUseError):
            harness.rotate()
        pass_time(harness, 1.5)
        assert harness.rotate().stage is Stage.DONE
    finally:
        asyncio.run(ledger.close())


async def _opened(harness: RotationHarness) -> SqliteLedger:
    ledger = SqliteLedger(harness.folder / f"{harness.name}.sqlite")
    await ledger.track([KEY], harness.now_us())
    return ledger


def test_an_old_key_in_use_is_revoked_only_by_force(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Not even after the grace period; the app that uses it has to be found."""
    harness.rotate()
    use(server, harness, 1)
    pass_time(harness, 30)
    use(server, harness, 0)
    with pytest.raises(StillInUseError, match=r"dev-team-key#1 should be revoked"):
        harness.rotate()
    with pytest.raises(StillInUseError):
        harness.rotate()
    assert len(server.live) == 2
    assert [step.note for step in harness.key_store.steps(1)].count(STILL_IN_USE) == 1
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", harness.folder / "sidecar.sqlite")
    assert (code, STILL_IN_USE in out) == (1, True)
    assert alerts_at(harness) == ["dev-team-key#1"]
    assert alerts_at(harness) == []
    pass_time(harness, 24)
    assert alerts_at(harness) == ["dev-team-key#1"]
    assert harness.rotate(force=True).stage is Stage.DONE
    assert len(server.live) == 1
    assert sidecar("keys", "status", "--ledger", harness.folder / "sidecar.sqlite")[0] == 0
    pass_time(harness, 24)
    assert alerts_at(harness) == []


def alerts_at(harness: RotationHarness) -> list[str]:
    """Run key maintenance as a serving sidecar does; return the keys with an alert (A1)."""

    async def look() -> list[str]:
        ledger = await _opened(harness)
        try:
            await ledger.keys_in_use(harness.now_us())
            owed = ledger.due("log", harness.now_us(), 9)
            assert all("is still used after its grace period" in one.alert.text() for one in owed)
            await ledger.record(
                "log", [DeliveryOutcome(one.alert.alert_id, "", 0) for one in owed], 1
            )
            return [one.alert.scope for one in owed]
        finally:
            await ledger.close()

    return asyncio.run(look())


def test_an_old_key_is_not_revoked_while_its_uses_are_unknown(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """The rotation waits, and reports why."""
    harness.rotate()
    pass_time(harness, 30)
    server.faults.append(Fault("list", 401, range(1, 99)))
    with pytest.raises(RotationError, match="regenerate it"):
        harness.rotate()
    assert len(server.live) == 2


def test_an_old_key_is_not_revoked_while_the_sink_has_it(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Another program has put it back, and Mistral does not report uses."""
    old = harness.app
    assert old is not None
    harness.rotate()
    server.tells_uses = False
    harness.put(old)
    pass_time(harness, 30)
    with pytest.raises(RotationError, match="the sink does not have the secret of dev-team-key#2"):
        harness.rotate()
    assert harness.app is old
    ended = harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [old])


def test_an_old_key_is_not_revoked_when_the_new_one_is_gone(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """If the new key was revoked by hand, revoking the old one would be an outage."""
    harness.rotate()
    pass_time(harness, 30)
    server.changed = lambda: None
    server.revoke(server.live[1])
    with pytest.raises(RotationError, match=r"Mistral does not list dev-team-key#2"):
        harness.rotate()
    harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert server.live == [harness.app]


def test_a_rollback_gives_apps_the_old_key_again(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """It is in the sink before the new one is revoked."""
    old = harness.app
    harness.rotate()
    ended = harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, harness.app, server.live) == (Stage.ROLLED_BACK, old, [old])
    assert harness.states == {1: "active", 2: "revoked"}
    assert harness.rotate().stage is Stage.SWITCHED


def test_a_rollback_needs_an_old_key_that_lives(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Otherwise the new one is all there is."""
    harness.rotate()
    server.revoke(server.live[0])
    with pytest.raises(RotationError, match=r"Mistral does not list dev-team-key#1"):
        harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert server.live == [harness.app]


def roll_back(harness: RotationHarness) -> KeyRotation:
    """Roll the rotation back."""
    return harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))


def test_no_rollback_begins_to_a_secret_that_the_sink_never_had(
    open_harness: Open, server: MistralAdmin
) -> None:
    """It could not be finished, and the key could never be rotated again."""
    harness = open_harness()
    server.has(KEY)
    harness.rotate()
    with pytest.raises(RotationError, match="no way back"):
        roll_back(harness)
    pass_time(harness, 30)
    assert harness.rotate().stage is Stage.DONE


def test_a_rollback_is_refused_when_the_sink_lacks_the_old_secret(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """The sink had another secret than the old one, so apps keep the new one."""
    harness.rotate()
    pass_time(harness, 30)
    harness.rotate()
    server.changed = lambda: None
    harness.put(next(iter(server.keys.values())))
    harness.rotate()
    with pytest.raises(RotationError, match="no way back"):
        roll_back(harness)
    assert harness.app is server.live[-1]


def test_a_rollback_without_the_old_secret_is_abandoned(harness: RotationHarness) -> None:
    """The old secret was removed from the sink; apps still find the new one."""
    harness.rotate()
    (harness.folder / "key.json.previous").unlink()
    with pytest.raises(RotationError, match="the old secret is gone"):
        roll_back(harness)
    assert harness.rotate().stage is Stage.SWITCHED
    pass_time(harness, 30)
    assert harness.rotate().stage is Stage.DONE


def test_a_rollback_begins_only_with_the_right_pepper(harness: RotationHarness) -> None:
    """Without it, a rotation can still continue."""
    harness.rotate()
    harness.pepper = Pepper(b"another of 16 bytes")
    with pytest.raises(RotationError, match="#1 was made with another pepper"):
        roll_back(harness)
    pass_time(harness, 30)
    assert harness.rotate().stage is Stage.DONE


def without_peppers(harness: RotationHarness, server: MistralAdmin) -> None:
    """Leave the ledger as a program did that knew no peppers."""
    with closing(sqlite3.connect(harness.folder / "sidecar.sqlite")) as ledger, ledger:
        for key in server.keys.values():
            digest = Secret(key.secret).digest
            ledger.execute(
                "UPDATE key_versions SET fingerprint = ? WHERE remote_id = ?", (digest, key.id)
            )


@pytest.mark.parametrize("stored", [False, True])
def test_a_rotation_from_before_peppers_continues(
    stored: bool, harness: RotationHarness, server: MistralAdmin
) -> None:
    """Its fingerprint is a plain digest."""
    harness.at = stop_at(Stage.STORED if stored else Stage.STORING)
    with pytest.raises(InterruptedError):
        harness.rotate()
    without_peppers(harness, server)
    with closing(sqlite3.connect(harness.folder / "sidecar.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE key_rotations SET stage = 'storing'")
    harness.at = lambda _: None
    assert harness.rotate().to_version == (2 if stored else 3)
    assert (harness.app, len(server.live)) == (server.live[-1], 2)


def test_a_rotation_from_before_peppers_is_rolled_back(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """By the secret's digest, which the ledger kept then."""
    old = harness.app
    assert old is not None
    harness.rotate()
    without_peppers(harness, server)
    assert roll_back(harness).stage is Stage.ROLLED_BACK
    assert (harness.app, server.live) == (old, [old])


@pytest.mark.parametrize("stage", [Stage.RESTORING, Stage.REVOKING])
def test_a_crash_after_the_switch_is_reported_as_interrupted(
    stage: Stage, harness: RotationHarness
) -> None:
    """Both keys live, and no process has the lease."""
    harness.rotate()
    harness.at = stop_at(stage)
    pass_time(harness, 30)
    with pytest.raises(InterruptedError):
        roll_back(harness) if stage is Stage.RESTORING else harness.rotate()
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", harness.folder / "sidecar.sqlite")
    assert (code, "interrupted" in out) == (1, True)


def test_a_key_adopted_twice_at_once_is_adopted_once(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """The later process does not disturb a rotation that has begun."""
    key = server.live[0]
    second = harness.open_key_store("second")
    first = harness.key_store.adopt(KEY, 1, KEY, key.id, None)
    assert second.adopt(KEY, 1, KEY, key.id, None) == first
    harness.key_store.begin(KEY, "0123456789ab")
    with pytest.raises(LeaseHeldError):
        second.adopt(KEY, 1, KEY, key.id, None)
    assert harness.states == {1: "active", 2: "pending"}
    second.close()


def test_a_key_that_another_process_has_just_rotated_is_not_rotated_again(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """K2: it was due when both looked; the later one finds another active version."""
    old = harness.key_store.adopt(KEY, 1, KEY, server.live[0].id, None)
    harness.rotate()
    harness.ahead_us += 25 * HOUR_US
    assert harness.rotate().ended_at_us
    second = harness.open_key_store("second")
    with pytest.raises(RotationRefusedError, match="is not the active version any more"):
        second.begin(KEY, "0123456789ab", of=old)
    assert harness.states == {1: "revoked", 2: "active"}
    second.close()


def test_an_abort_is_refused_when_apps_may_have_the_new_secret(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """After that it is a rollback."""
    harness.rotate()
    with pytest.raises(RotationError, match="rollback"):
        harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=False))
    assert len(server.live) == 2


def stop_at(stage: Stage) -> Callable[[KeyRotation], None]:
    """Return what ends a run at a stage, as Ctrl-C does."""

    def stop(rotation: KeyRotation) -> None:
        if rotation.stage is stage:
            raise InterruptedError

    return stop


@pytest.mark.parametrize("stage", [Stage.CREATING, Stage.CREATED, Stage.VERIFIED, Stage.STORING])
def test_an_interrupted_rotation_can_be_aborted(
    stage: Stage, harness: RotationHarness, server: MistralAdmin
) -> None:
    """The key that it had made is revoked."""
    harness.at = stop_at(stage)
    with pytest.raises(InterruptedError):
        harness.rotate()
    harness.at = lambda _: None
    ended = harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=False))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [harness.app])


def test_with_another_pepper_nothing_is_revoked_that_apps_may_have(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """It is unknown whether apps have the new secret, so no key is revoked; the old pepper continues."""
    first = harness.pepper
    harness.rotate()
    harness.at = stop_at(Stage.RESTORING)
    with pytest.raises(InterruptedError):
        harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    harness.at, harness.pepper = lambda _: None, Pepper(b"another of 16 bytes")
    with pytest.raises(RotationError, match="#1 was made with another pepper"):
        harness.rotate()
    assert len(server.live) == 2
    harness.pepper = first
    assert harness.rotate().stage is Stage.ROLLED_BACK
    harness.pepper = Pepper(b"another of 16 bytes")  # between two rotations it may change
    harness.rotate()
    ended = harness.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [harness.app])


@pytest.mark.parametrize("stored", [False, True])
def test_with_another_pepper_a_stored_secret_is_left_alone(
    stored: bool, harness: RotationHarness, server: MistralAdmin
) -> None:
    """A run that was interrupted there goes on with the first pepper alone."""
    harness.at = stop_at(Stage.STORED if stored else Stage.STORING)
    with pytest.raises(InterruptedError):
        harness.rotate()
    if stored:  # and as if it had died before it could say so
        with closing(sqlite3.connect(harness.folder / "sidecar.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE key_rotations SET stage = 'storing'")
    harness.at, first, harness.pepper = (
        lambda _: None,
        harness.pepper,
        Pepper(b"another of 16 bytes"),
    )
    with pytest.raises(RotationError, match="#2 was made with another pepper"):
        harness.rotate()
    assert len(server.live) == 2
    harness.pepper = first
    assert harness.rotate().stage is Stage.SWITCHED


def test_no_fingerprint_can_be_tried_without_the_pepper(harness: RotationHarness) -> None:
    """Of either version the ledger keeps an HMAC, and nothing that a list of secrets finds."""
    harness.rotate()
    digests = [Secret(key.secret).digest for key in harness.server.live]
    kept = [one.fingerprint for one in harness.key_store.versions(KEY)]
    assert kept == [harness.pepper.fingerprint(digest) for digest in digests]
    assert not any(digest in "".join(kept) for digest in digests)


def test_a_second_rotation_of_a_key_waits_for_the_lease(harness: RotationHarness) -> None:
    """It names the process that has the lease; after the lease's end it continues."""
    harness.at = stop_at(Stage.CREATED)
    with pytest.raises(InterruptedError):
        harness.rotate()
    first = harness.key_store
    first.take_over(1)  # as if it had crashed before releasing the lease
    harness.at, harness.key_store = lambda _: None, harness.open_key_store("second")
    with pytest.raises(LeaseHeldError, match="sidecar is rotating it, and it is created"):
        harness.rotate()
    harness.ahead_us += 31 * SECOND_US
    there = harness.rotate()
    assert there.stage is Stage.SWITCHED
    with pytest.raises(LeaseHeldError):  # it wakes up, and finds that it is not its any more
        first.advance(there, Stage.REVOKING)
    first.close()


def test_a_lease_far_in_the_future_is_ignored(harness: RotationHarness) -> None:
    """The clock had been ahead when it was written."""
    harness.ahead_us = 1000 * HOUR_US
    harness.key_store.begin(KEY, "0123456789ab")
    harness.ahead_us = 0
    harness.key_store.close()
    harness.key_store = harness.open_key_store("second")
    assert harness.key_store.take_over(1).owner == "second"


def test_a_ledger_without_the_key_adopts_it(
    open_harness: Open, harness: RotationHarness, server: MistralAdmin
) -> None:
    """A lost ledger, or another pod's, takes over where the other has ended."""
    other = open_harness("other")
    harness.rotate()
    with pytest.raises(RotationError, match="which of them is in use"):
        other.rotate()
    pass_time(harness, 24)
    assert harness.rotate().stage is Stage.DONE
    assert other.rotate().stage is Stage.SWITCHED
    assert other.states == {2: "grace", 3: "active"}
    with pytest.raises(RotationError, match="another rotation"):
        harness.rotate()
    pass_time(other, 24)
    other.rotate()
    assert harness.rotate().stage is Stage.SWITCHED
    assert server.most_live == 2


def test_of_two_concurrent_rotations_the_later_one_gives_way(
    open_harness: Open, harness: RotationHarness, server: MistralAdmin
) -> None:
    """Before its key is stored: the sink has one."""
    other = open_harness("other")
    ran: list[Stage] = []

    def both(rotation: KeyRotation) -> None:
        if rotation.stage is Stage.CREATING and not ran:
            ran.append(rotation.stage)
            server.when = lambda kind, at, _: (
                begin() if (kind, at) == ("create", "before") else None
            )

    def begin() -> None:
        server.when = lambda *_: None
        other.rotate()

    harness.at = both
    with pytest.raises(RotationError, match="made by another sidecar just now"):
        harness.rotate()
    assert [key.name for key in server.live] == [KEY, other.key_store.version(KEY, 2).name]
    assert harness.app is server.live[1]


def test_a_first_key_is_created_with_the_requested_fields(
    open_harness: Open, server: MistralAdmin
) -> None:
    """With the workspace and the user that were given, and stored for apps."""
    harness = open_harness()
    harness.new_key = NewKeySpec("ws_new", "u_9")
    ended = harness.run(lambda rotator: rotator.create(KEY))
    assert (ended.stage, harness.states, server.live) == (Stage.DONE, {1: "active"}, [harness.app])
    assert server.live[0].fields == {"workspace_uuid": "ws_new", "user_id": "u_9"}
    with pytest.raises(RotationError, match="already"):
        harness.run(lambda rotator: rotator.create(KEY))


def test_a_key_that_mistral_does_not_have_is_not_rotated(open_harness: Open) -> None:
    """The error says how to make it."""
    with pytest.raises(RotationError, match="sidecar keys create"):
        open_harness().rotate()


def test_a_key_lives_as_long_as_the_one_before(
    harness: RotationHarness, server: MistralAdmin
) -> None:
    """Its expiration is moved on."""
    made = server.live[0]
    made.fields["expiration"] = (made.created_at + timedelta(days=90)).isoformat()
    harness.rotate()
    expires = datetime.fromisoformat(server.live[1].fields["expiration"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
