"""With any faults at Mistral, apps always have a key that works."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mistral_admin import Fault, mistral_admin
from support.rotations import KEY, RotationHarness

from sidecar.keys import mistral as client
from sidecar.keys.settings import RotationError

FAULTS = st.builds(
    lambda kind, how, first, count: Fault(kind, how, range(first, first + count)),
    st.sampled_from(["list", "create", "models", "revoke"]),
    st.sampled_from([500, 401, 403, 429, 404, "reset", "lost", "nonsense"]),
    st.integers(1, 12),
    st.integers(1, 6),
)
COMMANDS = st.lists(st.sampled_from(["rotate", "force", "rollback", "abort"]), max_size=4)


@pytest.mark.property
@settings(max_examples=max(25, settings().max_examples // 10))  # each takes a while
@given(st.lists(FAULTS, max_size=4), COMMANDS, st.integers(0, 3))
def test_no_faults_and_no_commands_leave_the_app_without_a_key(
    faults: list[Fault], commands: list[str], hidden: int
) -> None:
    """Any faults, then any commands, then none: one key is left, and the ledger says so."""
    broken: list[str] = []
    with (
        TemporaryDirectory() as folder,
        mistral_admin() as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(client, "FIRST_WAIT_SECONDS", 0.002)
        harness = RotationHarness(Path(folder), server)
        harness.put(server.has(KEY))

        def look() -> None:
            if harness.app is None:
                broken.append("the app's key does not work")

        server.changed, server.faults, server.hidden_lists = look, faults, hidden
        for command in commands:
            try:
                if command in ("rotate", "force"):
                    harness.rotate(force=command == "force")
                else:
                    stored_too = command == "rollback"
                    harness.run(lambda one, too=stored_too: one.roll_back(KEY, stored_too=too))  # type: ignore[misc]
            except RotationError:
                continue
        server.faults, server.hidden_lists = [], 0
        for _ in range(30):
            if harness.rotate(force=True).stage.ended and len(server.live) == 1:
                break
        assert (broken, server.live) == ([], [harness.app])
        (active,) = [one for one in harness.key_store.versions(KEY) if one.state == "active"]
        assert active.remote_id == server.live[0].id
        assert server.most_live <= 3
        harness.close()
