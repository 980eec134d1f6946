"""When the loading of a broken policy directory is tried again."""

import asyncio
from datetime import UTC
from pathlib import Path

import pytest
from support.authorizer_harness import NOON, authorizer_harness
from support.policies import minimal

from sidecar.authorization.policy_reload import (
    RETRY_SECONDS,
    PolicySource,
    Reloader,
    ReloadSettings,
)
from sidecar.domain.share import WHOLE


@pytest.mark.parametrize("failures", [1, 3, 8])
def test_new_problems_are_tried_again_after_the_first_pause(
    tmp_path: Path, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the pause had become for the problems before."""
    policies = minimal(tmp_path / "policies")
    source = PolicySource(policies, "cel-cpp", WHOLE, UTC, ReloadSettings())
    with authorizer_harness(policies, tmp_path / "ledger.sqlite") as harness:

        async def retries() -> int:
            loop = asyncio.get_running_loop()
            reloader = Reloader(source, harness.authorizer, lambda: NOON)
            (policies / "broken.cel").write_text("this is no rule")
            for _ in range(failures):
                await reloader.reload()
            (policies / "broken.yaml").write_text("roles: [1, 2")
            await reloader.reload()
            before, later = reloader.loads["refused"], loop.time() + RETRY_SECONDS
            monkeypatch.setattr(loop, "time", lambda: later)
            await reloader.check_for_changes()
            await reloader.check_for_changes()
            return reloader.loads["refused"] - before

        assert harness.run(retries()) == 1
