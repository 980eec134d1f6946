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
from support.rotations import HOUR_US, KEY, QUICK, Desk

from sidecar.domain.alerts import DeliveryOutcome
from sidecar.domain.clock import SECOND_US
from sidecar.domain.rotation import LEFT_FOR_LATER, STILL_IN_USE, KeyRotation, Stage
from sidecar.keys import mistral as client
from sidecar.keys.pepper import Pepper
from sidecar.keys.secret import Secret
from sidecar.keys.settings import NewKeySpec, RotationError, StillInUseError
from sidecar.keys.sinks.file import FileSink
from sidecar.keys.sinks.sink import SinkError
from sidecar.ledger.key_store import LeaseHeldError
from sidecar.ledger.sqlite import SqliteLedger

Open = Callable[..., Desk]


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
def open_desk(tmp_path: Path, server: MistralAdmin) -> Iterator[Open]:
    """Open sidecars with ledgers of their own, and one sink."""
    opened: list[Desk] = []

    def open_one(name: str = "desk") -> Desk:
        opened.append(Desk(tmp_path, server, name))
        return opened[-1]

    yield open_one
    for desk in opened:
        desk.close()
        for path in tmp_path.iterdir():
            text = path.read_bytes()
            for secret in server.secrets:
                assert path.name.startswith("key.json") or secret.encode() not in text


@pytest.fixture
def desk(open_desk: Open, server: MistralAdmin) -> Iterator[Desk]:
    """One sidecar, and a key that a person made; the app's key works at every moment."""
    one = open_desk()
    one.put(server.has(KEY, description="Dev team"))
    broken: list[str] = []

    def look() -> None:
        if one.app is None:
            broken.append("the app has no key that works")

    server.changed = look
    yield one
    assert broken == []


def use(server: MistralAdmin, desk: Desk, which: int) -> None:
    """Use a key now, at the desk's time."""
    key = list(server.keys.values())[which]
    key.last_used_at = datetime.now(UTC) + timedelta(microseconds=desk.ahead_us)


def pass_time(desk: Desk, hours: float) -> None:
    """Move the desk's clock forward."""
    desk.ahead_us += round(hours * HOUR_US)


def test_a_rotation_goes_through_its_stages_in_order(desk: Desk, server: MistralAdmin) -> None:
    """The new key is like the old one; the old one lives until its grace has passed."""
    assert desk.rotate().stage is Stage.SWITCHED
    assert desk.states == {1: "grace", 2: "active"}
    old, new = server.live
    assert desk.app is new
    assert new.fields["workspace_uuid"] == old.fields["workspace_uuid"]
    pass_time(desk, 24)
    assert desk.rotate().stage is Stage.DONE
    assert (server.live, desk.states) == ([new], {1: "revoked", 2: "active"})
    names = [line.partition(":")[0] for line in desk.told if "unfinished" not in line]
    stages = ("creating", "created", "verified", "storing", "stored", "switched", "revoking")
    assert names == [f"#2 {stage}" for stage in (*stages, "done")]


def test_without_waiting_apps_get_their_time_from_a_later_run(
    desk: Desk, server: MistralAdmin
) -> None:
    """It stops where it would wait, which is no interruption; the old version stays active."""
    desk.timings = replace(QUICK, propagation_seconds=3600.0)
    for _ in range(2):
        assert desk.rotate(waits=False).stage is Stage.STORED
    assert desk.states == {1: "active", 2: "pending"}
    assert [step.note for step in desk.key_store.steps(1)].count(LEFT_FOR_LATER) == 1
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", desk.folder / "desk.sqlite")
    assert (code, "interrupted" in out, "when apps have found the secret" in out) == (
        0,
        False,
        True,
    )
    pass_time(desk, 1)
    assert desk.rotate(waits=False).stage is Stage.SWITCHED
    assert len(server.live) == 2


@pytest.mark.parametrize(("how", "made"), [("lost", 2), (500, 1), ("reset", 1)])
def test_a_key_whose_secret_was_lost_is_revoked_and_replaced(
    how: int | str, made: int, desk: Desk, server: MistralAdmin
) -> None:
    """Also if Mistral lists it later, and whether or not it was created."""
    server.faults.append(Fault("create", how))
    server.hidden_lists = 3
    assert desk.rotate().stage is Stage.SWITCHED
    assert (len(server.keys), server.most_live) == (1 + made, 2)
    assert desk.states == {1: "grace", 2: "revoked", 3: "active"}
    assert desk.app is server.live[-1]


def test_after_several_lost_secrets_the_rotation_gives_up(desk: Desk, server: MistralAdmin) -> None:
    """It leaves none of the keys behind."""
    server.faults.append(Fault("create", "lost", range(1, 99)))
    with pytest.raises(RotationError, match="3 new keys were lost"):
        desk.rotate()
    assert [key.name for key in server.live] == [KEY]
    assert (server.seen["create"], server.most_live) == (3, 2)
    assert desk.states[1] == "active"


def test_a_lost_key_that_shows_up_late_is_revoked_by_the_end(
    desk: Desk, server: MistralAdmin
) -> None:
    """It was not found at first; its name is in the ledger."""
    server.faults.append(Fault("create", "lost"))
    server.hidden_lists = 30
    desk.rotate()
    assert len(server.live) == 3
    pass_time(desk, 24)
    for key in server.live:
        key.hidden_lists = 0
    assert desk.rotate().stage is Stage.DONE
    assert [key.name for key in server.live] == [desk.key_store.version(KEY, 3).name]
    notes = [step.note for step in desk.key_store.steps(1)]
    assert any("its secret is lost" in note for note in notes)


def test_a_key_that_does_not_work_yet_is_waited_for(desk: Desk, server: MistralAdmin) -> None:
    """No app gets it before it does, three times in a row."""
    server.refused_uses = 5
    desk.rotate()
    assert server.seen["models"] == 5 + 3


def test_a_key_that_never_works_is_given_up(desk: Desk, server: MistralAdmin) -> None:
    """The old one stays, where it was."""
    server.refused_uses = 10**6
    with pytest.raises(RotationError, match="does not accept the new key"):
        desk.rotate()
    assert desk.states == {1: "active", 2: "revoked"}
    assert server.live == [desk.app]


@pytest.mark.parametrize(("status", "said"), [(401, "regenerate"), (403, "broader scope")])
def test_a_create_that_is_refused_changes_nothing(
    status: int, said: str, desk: Desk, server: MistralAdmin
) -> None:
    """The error says what to do, and the next run starts again."""
    server.faults.append(Fault("create", status))
    with pytest.raises(RotationError, match=said):
        desk.rotate()
    assert desk.key_store.unfinished(KEY) is None
    assert desk.rotate().stage is Stage.SWITCHED


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


def test_a_sink_that_refuses_gives_the_new_key_up(desk: Desk, server: MistralAdmin) -> None:
    """Apps keep the old one."""
    desk.sink = BadSink(desk.folder / "key.json", stores=False)
    with pytest.raises(RotationError, match="the vault is sealed"):
        desk.rotate()
    assert server.live == [desk.app]
    assert desk.states == {1: "active", 2: "revoked"}


def test_a_store_whose_response_was_lost_counts_as_stored(desk: Desk, server: MistralAdmin) -> None:
    """Apps may have the new key, so it is kept."""
    desk.sink = BadSink(desk.folder / "key.json", stores=True)
    assert desk.rotate().stage is Stage.SWITCHED
    assert desk.app is server.live[-1]


def test_the_grace_begins_with_the_first_use_of_the_new_key(
    desk: Desk, server: MistralAdmin
) -> None:
    """The rotation's own test of the key is not a use."""
    desk.rotate()
    pass_time(desk, 3)
    assert desk.rotate().stage is Stage.SWITCHED
    use(server, desk, 1)
    assert desk.rotate().stage is Stage.SWITCHED
    pass_time(desk, 0.9)
    assert desk.rotate().stage is Stage.SWITCHED
    pass_time(desk, 0.2)
    assert desk.rotate().stage is Stage.DONE


def test_a_use_is_also_what_decisions_name(desk: Desk, server: MistralAdmin) -> None:
    """As KEY#VERSION, where Mistral does not say when a key was used."""
    server.tells_uses = False
    desk.rotate()
    ledger = asyncio.run(_opened(desk))

    def decide(name: str) -> None:
        asyncio.run(ledger.decide(reservation(desk.now_us(), key_id=name)))

    try:
        decide(f"{KEY}#2")
        pass_time(desk, 1.5)
        decide(f"{KEY}#1")
        with pytest.raises(StillInUseError):
            desk.rotate()
        pass_time(desk, 1.5)
        assert desk.rotate().stage is Stage.DONE
    finally:
        asyncio.run(ledger.close())


async def _opened(desk: Desk) -> SqliteLedger:
    ledger = SqliteLedger(desk.folder / f"{desk.name}.sqlite")
    await ledger.track([KEY], desk.now_us())
    return ledger


def test_an_old_key_in_use_is_revoked_only_by_force(desk: Desk, server: MistralAdmin) -> None:
    """Not even after the grace period; the app that uses it has to be found."""
    desk.rotate()
    use(server, desk, 1)
    pass_time(desk, 30)
    use(server, desk, 0)
    with pytest.raises(StillInUseError, match=r"dev-team-key#1 should be revoked"):
        desk.rotate()
    with pytest.raises(StillInUseError):
        desk.rotate()
    assert len(server.live) == 2
    assert [step.note for step in desk.key_store.steps(1)].count(STILL_IN_USE) == 1
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", desk.folder / "desk.sqlite")
    assert (code, STILL_IN_USE in out) == (1, True)
    assert alerts_at(desk) == ["dev-team-key#1"]
    assert alerts_at(desk) == []
    pass_time(desk, 24)
    assert alerts_at(desk) == ["dev-team-key#1"]
    assert desk.rotate(force=True).stage is Stage.DONE
    assert len(server.live) == 1
    assert sidecar("keys", "status", "--ledger", desk.folder / "desk.sqlite")[0] == 0
    pass_time(desk, 24)
    assert alerts_at(desk) == []


def alerts_at(desk: Desk) -> list[str]:
    """Run key maintenance as a serving sidecar does; return the keys with an alert (A1)."""

    async def look() -> list[str]:
        ledger = await _opened(desk)
        try:
            await ledger.keys_in_use(desk.now_us())
            owed = ledger.due("log", desk.now_us(), 9)
            assert all("is still used after its grace period" in one.alert.text() for one in owed)
            await ledger.record(
                "log", [DeliveryOutcome(one.alert.alert_id, "", 0) for one in owed], 1
            )
            return [one.alert.scope for one in owed]
        finally:
            await ledger.close()

    return asyncio.run(look())


def test_an_old_key_is_not_revoked_while_its_uses_are_unknown(
    desk: Desk, server: MistralAdmin
) -> None:
    """The rotation waits, and reports why."""
    desk.rotate()
    pass_time(desk, 30)
    server.faults.append(Fault("list", 401, range(1, 99)))
    with pytest.raises(RotationError, match="regenerate it"):
        desk.rotate()
    assert len(server.live) == 2


def test_an_old_key_is_not_revoked_while_the_sink_has_it(desk: Desk, server: MistralAdmin) -> None:
    """Another program has put it back, and Mistral does not report uses."""
    old = desk.app
    assert old is not None
    desk.rotate()
    server.tells_uses = False
    desk.put(old)
    pass_time(desk, 30)
    with pytest.raises(RotationError, match="the sink does not have the secret of dev-team-key#2"):
        desk.rotate()
    assert desk.app is old
    ended = desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [old])


def test_an_old_key_is_not_revoked_when_the_new_one_is_gone(
    desk: Desk, server: MistralAdmin
) -> None:
    """If the new key was revoked by hand, revoking the old one would be an outage."""
    desk.rotate()
    pass_time(desk, 30)
    server.changed = lambda: None
    server.revoke(server.live[1])
    with pytest.raises(RotationError, match=r"Mistral does not list dev-team-key#2"):
        desk.rotate()
    desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert server.live == [desk.app]


def test_a_rollback_gives_apps_the_old_key_again(desk: Desk, server: MistralAdmin) -> None:
    """It is in the sink before the new one is revoked."""
    old = desk.app
    desk.rotate()
    ended = desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, desk.app, server.live) == (Stage.ROLLED_BACK, old, [old])
    assert desk.states == {1: "active", 2: "revoked"}
    assert desk.rotate().stage is Stage.SWITCHED


def test_a_rollback_needs_an_old_key_that_lives(desk: Desk, server: MistralAdmin) -> None:
    """Otherwise the new one is all there is."""
    desk.rotate()
    server.revoke(server.live[0])
    with pytest.raises(RotationError, match=r"Mistral does not list dev-team-key#1"):
        desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert server.live == [desk.app]


def roll_back(desk: Desk) -> KeyRotation:
    """Roll the rotation back."""
    return desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))


def test_no_rollback_begins_to_a_secret_that_the_sink_never_had(
    open_desk: Open, server: MistralAdmin
) -> None:
    """It could not be finished, and the key could never be rotated again."""
    desk = open_desk()
    server.has(KEY)
    desk.rotate()
    with pytest.raises(RotationError, match="no way back"):
        roll_back(desk)
    pass_time(desk, 30)
    assert desk.rotate().stage is Stage.DONE


def test_a_rollback_is_refused_when_the_sink_lacks_the_old_secret(
    desk: Desk, server: MistralAdmin
) -> None:
    """The sink had another secret than the old one, so apps keep the new one."""
    desk.rotate()
    pass_time(desk, 30)
    desk.rotate()
    server.changed = lambda: None
    desk.put(next(iter(server.keys.values())))
    desk.rotate()
    with pytest.raises(RotationError, match="no way back"):
        roll_back(desk)
    assert desk.app is server.live[-1]


def test_a_rollback_without_the_old_secret_is_abandoned(desk: Desk) -> None:
    """The old secret was removed from the sink; apps still find the new one."""
    desk.rotate()
    (desk.folder / "key.json.previous").unlink()
    with pytest.raises(RotationError, match="the old secret is gone"):
        roll_back(desk)
    assert desk.rotate().stage is Stage.SWITCHED
    pass_time(desk, 30)
    assert desk.rotate().stage is Stage.DONE


def test_a_rollback_begins_only_with_the_right_pepper(desk: Desk) -> None:
    """Without it, a rotation can still continue."""
    desk.rotate()
    desk.pepper = Pepper(b"another of 16 bytes")
    with pytest.raises(RotationError, match="#1 was made with another pepper"):
        roll_back(desk)
    pass_time(desk, 30)
    assert desk.rotate().stage is Stage.DONE


def without_peppers(desk: Desk, server: MistralAdmin) -> None:
    """Leave the ledger as a program did that knew no peppers."""
    with closing(sqlite3.connect(desk.folder / "desk.sqlite")) as ledger, ledger:
        for key in server.keys.values():
            digest = Secret(key.secret).digest
            ledger.execute(
                "UPDATE key_versions SET fingerprint = ? WHERE remote_id = ?", (digest, key.id)
            )


@pytest.mark.parametrize("stored", [False, True])
def test_a_rotation_from_before_peppers_continues(
    stored: bool, desk: Desk, server: MistralAdmin
) -> None:
    """Its fingerprint is a plain digest."""
    desk.at = stop_at(Stage.STORED if stored else Stage.STORING)
    with pytest.raises(InterruptedError):
        desk.rotate()
    without_peppers(desk, server)
    with closing(sqlite3.connect(desk.folder / "desk.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE key_rotations SET stage = 'storing'")
    desk.at = lambda _: None
    assert desk.rotate().to_version == (2 if stored else 3)
    assert (desk.app, len(server.live)) == (server.live[-1], 2)


def test_a_rotation_from_before_peppers_is_rolled_back(desk: Desk, server: MistralAdmin) -> None:
    """By the secret's digest, which the ledger kept then."""
    old = desk.app
    assert old is not None
    desk.rotate()
    without_peppers(desk, server)
    assert roll_back(desk).stage is Stage.ROLLED_BACK
    assert (desk.app, server.live) == (old, [old])


@pytest.mark.parametrize("stage", [Stage.RESTORING, Stage.REVOKING])
def test_a_crash_after_the_switch_is_reported_as_interrupted(stage: Stage, desk: Desk) -> None:
    """Both keys live, and no process has the lease."""
    desk.rotate()
    desk.at = stop_at(stage)
    pass_time(desk, 30)
    with pytest.raises(InterruptedError):
        roll_back(desk) if stage is Stage.RESTORING else desk.rotate()
    code, out, _ = sidecar("keys", "status", KEY, "--ledger", desk.folder / "desk.sqlite")
    assert (code, "interrupted" in out) == (1, True)


def test_a_key_adopted_twice_at_once_is_adopted_once(desk: Desk, server: MistralAdmin) -> None:
    """The later process does not disturb a rotation that has begun."""
    key = server.live[0]
    second = desk.open_key_store("second")
    first = desk.key_store.adopt(KEY, 1, KEY, key.id, None)
    assert second.adopt(KEY, 1, KEY, key.id, None) == first
    desk.key_store.begin(KEY, "0123456789ab")
    with pytest.raises(LeaseHeldError):
        second.adopt(KEY, 1, KEY, key.id, None)
    assert desk.states == {1: "active", 2: "pending"}
    second.close()


def test_an_abort_is_refused_when_apps_may_have_the_new_secret(
    desk: Desk, server: MistralAdmin
) -> None:
    """After that it is a rollback."""
    desk.rotate()
    with pytest.raises(RotationError, match="rollback"):
        desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=False))
    assert len(server.live) == 2


def stop_at(stage: Stage) -> Callable[[KeyRotation], None]:
    """Return what ends a run at a stage, as Ctrl-C does."""

    def stop(rotation: KeyRotation) -> None:
        if rotation.stage is stage:
            raise InterruptedError

    return stop


@pytest.mark.parametrize("stage", [Stage.CREATING, Stage.CREATED, Stage.VERIFIED, Stage.STORING])
def test_an_interrupted_rotation_can_be_aborted(
    stage: Stage, desk: Desk, server: MistralAdmin
) -> None:
    """The key that it had made is revoked."""
    desk.at = stop_at(stage)
    with pytest.raises(InterruptedError):
        desk.rotate()
    desk.at = lambda _: None
    ended = desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=False))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [desk.app])


def test_with_another_pepper_nothing_is_revoked_that_apps_may_have(
    desk: Desk, server: MistralAdmin
) -> None:
    """It is unknown whether apps have the new secret, so no key is revoked; the old pepper continues."""
    first = desk.pepper
    desk.rotate()
    desk.at = stop_at(Stage.RESTORING)
    with pytest.raises(InterruptedError):
        desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    desk.at, desk.pepper = lambda _: None, Pepper(b"another of 16 bytes")
    with pytest.raises(RotationError, match="#1 was made with another pepper"):
        desk.rotate()
    assert len(server.live) == 2
    desk.pepper = first
    assert desk.rotate().stage is Stage.ROLLED_BACK
    desk.pepper = Pepper(b"another of 16 bytes")  # between two rotations it may change
    desk.rotate()
    ended = desk.run(lambda rotator: rotator.roll_back(KEY, stored_too=True))
    assert (ended.stage, server.live) == (Stage.ROLLED_BACK, [desk.app])


@pytest.mark.parametrize("stored", [False, True])
def test_with_another_pepper_a_stored_secret_is_left_alone(
    stored: bool, desk: Desk, server: MistralAdmin
) -> None:
    """A run that was interrupted there goes on with the first pepper alone."""
    desk.at = stop_at(Stage.STORED if stored else Stage.STORING)
    with pytest.raises(InterruptedError):
        desk.rotate()
    if stored:  # and as if it had died before it could say so
        with closing(sqlite3.connect(desk.folder / "desk.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE key_rotations SET stage = 'storing'")
    desk.at, first, desk.pepper = lambda _: None, desk.pepper, Pepper(b"another of 16 bytes")
    with pytest.raises(RotationError, match="#2 was made with another pepper"):
        desk.rotate()
    assert len(server.live) == 2
    desk.pepper = first
    assert desk.rotate().stage is Stage.SWITCHED


def test_no_fingerprint_can_be_tried_without_the_pepper(desk: Desk) -> None:
    """Of either version the ledger keeps an HMAC, and nothing that a list of secrets finds."""
    desk.rotate()
    digests = [Secret(key.secret).digest for key in desk.server.live]
    kept = [one.fingerprint for one in desk.key_store.versions(KEY)]
    assert kept == [desk.pepper.fingerprint(digest) for digest in digests]
    assert not any(digest in "".join(kept) for digest in digests)


def test_a_second_rotation_of_a_key_waits_for_the_lease(desk: Desk) -> None:
    """It names the process that has the lease; after the lease's end it continues."""
    desk.at = stop_at(Stage.CREATED)
    with pytest.raises(InterruptedError):
        desk.rotate()
    first = desk.key_store
    first.take_over(1)  # as if it had crashed before releasing the lease
    desk.at, desk.key_store = lambda _: None, desk.open_key_store("second")
    with pytest.raises(LeaseHeldError, match="desk is rotating it, and it is created"):
        desk.rotate()
    desk.ahead_us += 31 * SECOND_US
    there = desk.rotate()
    assert there.stage is Stage.SWITCHED
    with pytest.raises(LeaseHeldError):  # it wakes up, and finds that it is not its any more
        first.advance(there, Stage.REVOKING)
    first.close()


def test_a_lease_far_in_the_future_is_ignored(desk: Desk) -> None:
    """The clock had been ahead when it was written."""
    desk.ahead_us = 1000 * HOUR_US
    desk.key_store.begin(KEY, "0123456789ab")
    desk.ahead_us = 0
    desk.key_store.close()
    desk.key_store = desk.open_key_store("second")
    assert desk.key_store.take_over(1).owner == "second"


def test_a_ledger_without_the_key_adopts_it(
    open_desk: Open, desk: Desk, server: MistralAdmin
) -> None:
    """A lost ledger, or another pod's, takes over where the other has ended."""
    other = open_desk("other")
    desk.rotate()
    with pytest.raises(RotationError, match="which of them is in use"):
        other.rotate()
    pass_time(desk, 24)
    assert desk.rotate().stage is Stage.DONE
    assert other.rotate().stage is Stage.SWITCHED
    assert other.states == {2: "grace", 3: "active"}
    with pytest.raises(RotationError, match="another rotation"):
        desk.rotate()
    pass_time(other, 24)
    other.rotate()
    assert desk.rotate().stage is Stage.SWITCHED
    assert server.most_live == 2


def test_of_two_concurrent_rotations_the_later_one_gives_way(
    open_desk: Open, desk: Desk, server: MistralAdmin
) -> None:
    """Before its key is stored: the sink has one."""
    other = open_desk("other")
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

    desk.at = both
    with pytest.raises(RotationError, match="made by another sidecar just now"):
        desk.rotate()
    assert [key.name for key in server.live] == [KEY, other.key_store.version(KEY, 2).name]
    assert desk.app is server.live[1]


def test_a_first_key_is_created_with_the_requested_fields(
    open_desk: Open, server: MistralAdmin
) -> None:
    """With the workspace and the user that were given, and stored for apps."""
    desk = open_desk()
    desk.wanted = NewKeySpec("ws_new", "u_9")
    ended = desk.run(lambda rotator: rotator.create(KEY))
    assert (ended.stage, desk.states, server.live) == (Stage.DONE, {1: "active"}, [desk.app])
    assert server.live[0].fields == {"workspace_uuid": "ws_new", "user_id": "u_9"}
    with pytest.raises(RotationError, match="already"):
        desk.run(lambda rotator: rotator.create(KEY))


def test_a_key_that_mistral_does_not_have_is_not_rotated(open_desk: Open) -> None:
    """The error says how to make it."""
    with pytest.raises(RotationError, match="sidecar keys create"):
        open_desk().rotate()


def test_a_key_lives_as_long_as_the_one_before(desk: Desk, server: MistralAdmin) -> None:
    """Its expiration is moved on."""
    made = server.live[0]
    made.fields["expiration"] = (made.created_at + timedelta(days=90)).isoformat()
    desk.rotate()
    expires = datetime.fromisoformat(server.live[1].fields["expiration"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
