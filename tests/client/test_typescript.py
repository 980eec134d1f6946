"""The TypeScript package: built, and tested against the real sidecar and the stand-in."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from support import typescript
from support.holds import holds, verified
from support.mistral_standin import API_KEY
from support.policies import MODELS, limit, minimal
from support.relay import lose_answer, refuse, relay
from support.running import RunningSidecar

MORE_MODELS = """\
  dear-1:
    family: dear
    prices:
      - effective_from: 2020-01-01
        input_usd_per_million_tokens: 10
        output_usd_per_million_tokens: 10
  scan-1:
    family: scan
    prices:
      - effective_from: 2020-01-01
        usd_per_thousand_pages: 2
"""


def test_the_typescript_package(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path, mistral_url: str
) -> None:
    """Its own tests pass while answers are lost on the way; then all is settled, and adds up."""
    typescript.built()
    daily = limit("1000000", meter="tokens", per="principal.id")
    policies = minimal(tmp_path / "p", daily=daily, models_yaml=MODELS + MORE_MODELS)
    sidecar = start_sidecar(policies)
    late, late_ledger = f"unix:{tmp_path}/late.sock", tmp_path / "late.sqlite"
    command = [
        sys.executable, "-m", "sidecar", "serve", "--policies", str(policies),
        "--ledger", str(late_ledger), "--listen", late,
    ]  # fmt: skip
    with relay(sidecar.addresses[0]) as between:
        between.faults["Authorize"] = [lose_answer, refuse, lose_answer] * 3
        between.faults["Settle"] = [refuse, lose_answer] * 5
        tests = sorted((typescript.FOLDER / "dist" / "test").glob("*.test.js"))
        done = typescript.run(
            "--test", *map(str, tests),
            SIDECAR_ADDRESS=between.address, MISTRAL_URL=mistral_url, API_KEY=API_KEY,
            LATE_ADDRESS=late, LATE_COMMAND=json.dumps(command),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(tests) == 3
    for ledger in (sidecar.ledger, late_ledger):
        assert {it.state for it in holds(ledger)} <= {"settled", "released"}
        assert verified(ledger)
