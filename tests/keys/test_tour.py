"""The tour of docs/keys.md works: its commands are run, one after the other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo import keys as demo
from support.mistral_admin import MistralAdmin, mistral_admin

from sidecar.domain.rotation import Stage
from sidecar.keys.api_variants import API_VARIANTS, NewKey

KEYS = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()

EXPECTED = {
    "create": (0, "from nothing to #1: done"),
    "list": (0, "ml-team-key"),
    "show": (0, "ml-team-key"),
    "audit": (1, "hackathon-key"),
    "rotate ml-team-key --dry-run": (0, "1. create ml-team-key#2 at Mistral, like ml-team-key-v1-"),
    "rotate ml-team-key --no-wait": (0, "from #1 to #2: switched"),
    "status": (0, "2 rotations"),
    "rollback": (0, "from #1 to #2: rolled-back"),
    "rotate ml-team-key --force": (0, "from #1 to #3: done"),
}


@pytest.fixture
def server() -> Iterator[MistralAdmin]:
    """A stand-in for Mistral."""
    with mistral_admin() as started:
        yield started


def test_the_commands_of_the_tour_work(
    tmp_path: Path, server: MistralAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Create, audit and rotate a key, and a rollback."""
    monkeypatch.setenv("NO_COLOR", "1")
    printed, shown = "", demo.run(tmp_path, server.url)
    for (begins, (code, text)), (command, done) in zip(EXPECTED.items(), shown, strict=True):
        assert command.removeprefix("sidecar keys ").startswith(begins)
        assert (done.returncode, text in done.stdout) == (code, True), (command, done)
        printed += done.stdout + done.stderr
    held = json.loads((tmp_path / "keys" / "ml-team-key.json").read_text())
    (live,) = server.live
    assert held == {"key_id": "ml-team-key#3", "api_key": live.secret}
    assert not [secret for secret in server.secrets if secret in printed]


def test_every_stage_is_in_the_table() -> None:
    """And no other."""
    table = KEYS[KEYS.index("| stage |") : KEYS.index("Each stage is in the ledger")]
    first = "".join(line.split("|")[1] for line in table.splitlines()[2:] if "|" in line)
    assert set(re.findall(r"`([\w-]+)`", first)) == set(Stage)


def test_the_shapes_are_as_documented() -> None:
    """Every field that a new key may have stands in its column."""
    row = next(line for line in KEYS.splitlines() if line.startswith("| a new key has"))
    columns = dict(zip(API_VARIANTS, row.split("|")[2:4], strict=True))
    for name, shape in API_VARIANTS.items():
        body = shape.body(NewKey("n", "w", "u", "d", 1))
        assert set(re.findall(r"`(\w+)`", columns[name])) == set(body)
