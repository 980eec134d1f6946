"""The TypeScript package: built, and tested against the real sidecar and the stand-in."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from support import typescript
from support.holds import holds, verified
from support.mistral_standin import API_KEY
from support.policies import MODELS, THREE_PRICES, deny, limit, minimal
from support.relay import lose_answer, refuse, relay
from support.repeats import lost, repeated
from support.sidecar_process import RunningSidecar

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


def serve(policies: Path, address: str, ledger: Path) -> str:
    """Return the command of a sidecar, for a test to start."""
    command = [
        sys.executable, "-m", "sidecar", "serve", "--policies", str(policies),
        "--ledger", str(ledger), "--listen", address,
    ]  # fmt: skip
    return json.dumps(command)


def _pass(forward: Callable[[], bytes]) -> bytes:
    return forward()


def test_the_typescript_package(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path, mistral_url: str
) -> None:
    """Its own tests pass while responses are lost; afterwards the ledger verifies."""
    typescript.built()
    daily = limit("1000000", meter="tokens", per="principal.id")
    open_end = limit("unlimited", meter="tokens", per="principal.id")
    policies = minimal(
        tmp_path / "p",
        daily=daily,
        open_end=open_end,
        not_in_the_us=deny('request.region == "us"', message="not in the US"),
        models_yaml=MODELS + MORE_MODELS,
    )
    sidecar = start_sidecar(policies)
    cent = limit("0.01", meter="cost", window="total", per="principal.id")
    budget = start_sidecar(
        minimal(tmp_path / "q", models_yaml=THREE_PRICES, cent=cent), ledger=tmp_path / "q.sqlite"
    )
    late, later = ((f"unix:{tmp_path}/{it}.sock", tmp_path / f"{it}.sqlite") for it in ("1", "2"))
    address = sidecar.addresses[0]
    with relay(address) as between, relay(address) as away, relay(address) as repeating:

        def until_the_fifth_call(forward: Callable[[], bytes]) -> bytes:
            return forward() if len(set(away.authorized_ids)) >= 5 else refuse(forward)

        away.always["Authorize"] = until_the_fifth_call
        repeating.faults["Authorize"] = [
            repeated(address, "settled"), lost(address, "released"), _pass, lose_answer
        ]  # fmt: skip
        between.faults["Authorize"] = [lose_answer, refuse, lose_answer] * 3
        between.faults["Settle"] = [refuse, lose_answer] * 5
        tests = sorted((typescript.FOLDER / "dist" / "test").glob("*.test.js"))
        done = typescript.run(
            "--test", *map(str, tests),
            SIDECAR_ADDRESS=between.address, MISTRAL_URL=mistral_url, API_KEY=API_KEY,
            LATE_ADDRESS=late[0], LATE_COMMAND=serve(policies, *late),
            LATER_ADDRESS=later[0], LATER_COMMAND=serve(policies, *later),
            AWAY_ADDRESS=away.address, REPEATING_ADDRESS=repeating.address,
            BUDGET_ADDRESS=budget.addresses[0],
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(tests) == 7
    # Three calls in vain, a probe in vain, one that is answered, and five after it.
    assert len(set(away.authorized_ids)) == 3 + 1 + 1 + 5
    for ledger in (sidecar.ledger, budget.ledger, late[1], later[1]):
        assert {it.state for it in holds(ledger)} <= {"settled", "released"}
        assert verified(ledger)
