"""Keys are rotated when they are old enough: by one sidecar of many, and never all at once."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support import policies
from support.commands import sidecar
from support.mistral_admin import ADMIN_KEY, MistralAdmin, mistral_admin
from support.rotations import HOUR_US, KEY, QUICK, RotationHarness
from support.sidecar_process import RunningSidecar, eventually

from sidecar.domain.rotation import Stage, due_at_us
from sidecar.keys.api_variants import MistralSettings
from sidecar.keys.other_sidecars import NoOtherSidecars
from sidecar.keys.schedule import DAY_US, Schedule
from sidecar.keys.settings import KubernetesSettings, ScheduleSettings


@pytest.fixture
def server() -> Iterator[MistralAdmin]:
    """A stand-in for Mistral."""
    with mistral_admin() as started:
        yield started


class Sidecar(RotationHarness):
    """A sidecar with scheduled rotation, and a ledger of its own."""

    def __init__(self, folder: Path, server: MistralAdmin, name: str) -> None:
        """Rotate every 90 days."""
        super().__init__(folder, server, name)
        (folder / "admin.key").write_text(ADMIN_KEY)
        (folder / "pepper").write_text("a pepper of 16 bytes")
        (folder / "pepper").chmod(0o600)
        self.schedule = Schedule(
            ScheduleSettings(
                90, folder / "admin.key", f"file:{folder}/key.json", folder / "pepper",
                MistralSettings(server.url), KubernetesSettings(), QUICK,
            ),
            folder / f"{name}.sqlite", lambda: [KEY], self.now_us, NoOtherSidecars(),
        )  # fmt: skip

    def look(self) -> None:
        """Rotate the keys that are due now."""
        asyncio.run(self.schedule.check())


def made_days_ago(server: MistralAdmin, days: float) -> None:
    """Make a key that is so old."""
    key = server.has(KEY)
    key.created_at -= timedelta(days=days)


def test_a_key_is_rotated_before_it_is_too_old(tmp_path: Path, server: MistralAdmin) -> None:
    """Not much before; the old key is revoked at a later check, after its grace period."""
    made_days_ago(server, 85)
    one = Sidecar(tmp_path, server, "one")
    one.put(server.live[0])
    one.look()
    assert len(server.live) == 1
    one.ahead_us = 5 * DAY_US
    one.look()
    assert one.states == {1: "grace", 2: "active"}
    one.ahead_us += 25 * HOUR_US
    one.look()
    assert one.states == {1: "revoked", 2: "active"}
    assert server.live == [one.app]


def test_of_many_sidecars_with_separate_ledgers_one_rotates(
    tmp_path: Path, server: MistralAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    """The others see that, do nothing, and take over what it made."""
    made_days_ago(server, 91)
    pods = [Sidecar(tmp_path, server, f"pod-{number}") for number in range(3)]
    pods[0].put(server.live[0])
    for pod in pods:
        pod.look()
    assert (len(server.live), server.seen["create"]) == (2, 1)
    assert "it is unknown which of them is in use" in caplog.text
    for _ in range(2):
        for pod in pods:
            pod.ahead_us += 25 * HOUR_US
            pod.look()
    assert (server.live, server.seen["create"]) == ([pods[0].app], 1)
    assert [list(pod.states.values()).count("active") for pod in pods] == [1, 1, 1]


def test_a_key_that_cannot_be_rotated_is_logged_once_an_hour(
    tmp_path: Path, server: MistralAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at each check."""
    one = Sidecar(tmp_path, server, "one")
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        one.look()
    assert [record.getMessage() for record in caplog.records] == [
        f"{KEY} is not rotated: Mistral lists no key of the name {KEY}"
    ]
    one.ahead_us += HOUR_US
    one.look()
    assert len(caplog.records) == 2


def test_a_key_that_another_process_has_rotated_is_not_rotated_again(
    tmp_path: Path, server: MistralAdmin
) -> None:
    """Neither if it was found to be old before, nor if its rotation was found unfinished."""
    made_days_ago(server, 91)
    one, other = Sidecar(tmp_path, server, "same"), RotationHarness(tmp_path, server, "same")
    one.put(server.live[0])

    def first(*_: object) -> None:
        server.when = lambda *_: None
        assert other.rotate(force=True).stage is Stage.DONE

    server.when = first
    one.look()
    assert one.states == {1: "revoked", 2: "active"}
    (ended,) = one.key_store.rotations(KEY)
    assert one.run(lambda rotator: rotator.resume(ended)).stage is Stage.DONE
    assert one.states == {1: "revoked", 2: "active"}
    assert server.live == [one.app]


def test_keys_of_one_age_are_rotated_at_different_times() -> None:
    """Within the last twentieth of the period, and never after it."""
    times = [due_at_us(0, 90 * DAY_US, share) for share in range(1000)]
    assert len(set(times)) == 1000
    assert max(times) == 90 * DAY_US
    assert min(times) > 85 * DAY_US


def test_a_serving_sidecar_rotates_and_the_command_line_sees_it(
    tmp_path: Path, server: MistralAdmin
) -> None:
    """Both write the key's tables of one ledger, which one sidecar holds."""
    made_days_ago(server, 91)
    harness = RotationHarness(tmp_path, server, "mine")
    harness.put(server.live[0])
    (tmp_path / "admin.key").write_text(ADMIN_KEY)
    (tmp_path / "pepper").write_text("a pepper of 16 bytes")
    (tmp_path / "pepper").chmod(0o600)
    common = (
        "--key-pepper-file", str(tmp_path / "pepper"),
        "--mistral-url", server.url, "--mistral-admin-key-file", str(tmp_path / "admin.key"),
        "--key-sink", f"file:{tmp_path}/{{key}}.json", "--propagation-seconds", "0",
    )  # fmt: skip
    (tmp_path / "key.json").rename(tmp_path / f"{KEY}.json")
    serving = RunningSidecar(
        policies.SHIPPED, tmp_path / "ledger.sqlite",
        ("--rotate-keys-days", "90", "--look-seconds", "0.05", *common),
    ).start()  # fmt: skip
    try:
        eventually(lambda: len(server.live) == 2)
        status = ("keys", "status", KEY, "--ledger", serving.ledger)
        eventually(lambda: "switched" in sidecar(*status)[1])
        force = ("keys", "rotate", KEY, "--ledger", serving.ledger, *common, "--force")
        eventually(lambda: sidecar(*force)[0] == 0, 30)  # it may be the other's turn just then
    finally:
        assert serving.stop() == 0
    assert next(key.name for key in server.live).startswith(f"{KEY}-v2-")
    assert f"key {KEY}#2 switched" in serving.log
    assert "ci-key is not rotated: Mistral lists no key" in serving.log
    assert "hackathon-key" not in serving.log  # has expired
    assert not [secret for secret in server.secrets if secret in serving.log]
    for path in tmp_path.iterdir():
        if path.name not in ("admin.key", f"{KEY}.json"):
            text = path.read_bytes()
            assert not [one for one in server.secrets if one.encode() in text], path
    harness.close()


def test_a_schedule_without_what_it_needs_does_not_start(tmp_path: Path) -> None:
    """The flags that are missing, or wrong, are named."""
    start = (
        "serve", "--policies", policies.SHIPPED, "--ledger", tmp_path / "l.sqlite",
        "--listen", "127.0.0.1:0", "--rotate-keys-days", "90",
    )  # fmt: skip
    code, _, err = sidecar(*start)
    assert (code, "--key-sink and --key-pepper-file" in err) == (2, True)
    none, admin_key = tmp_path / "none", tmp_path / "admin.key"
    admin_key.write_text(ADMIN_KEY)
    more = ("--key-sink", "file:/x", "--key-pepper-file", none, "--mistral-admin-key-file")
    code, _, err = sidecar(*start, *more, none)
    assert (code, "--mistral-admin-key-file: " in err) == (2, True)
    code, _, err = sidecar(*start, *more, admin_key)
    assert (code, "--key-pepper-file: " in err) == (2, True)
