"""The contract follows buf's style, and has no breaking changes."""

import shutil
from pathlib import Path

import pytest
from support import tools
from support.buf import BASELINE, ROOT, buf, program


@pytest.fixture(scope="module", autouse=True)
def _buf() -> None:
    """Skip where buf cannot be had."""
    with tools.needed():
        program()


def test_the_protos_pass_buf_lint() -> None:
    """But for the exceptions of buf.yaml, each with its reason."""
    assert buf("lint") == (0, "")


def test_the_contract_breaks_nothing_since_the_baseline() -> None:
    """Compared with proto/baseline.txtpb; additions are allowed."""
    assert buf("breaking", "--against", str(BASELINE)) == (0, "")


@pytest.mark.parametrize(
    ("file", "promised", "broken"),
    [
        ("authorization", "string hold_id = 4;", "string hold_id = 40;"),
        ("authorization", "int64 held_cost_nano_usd = 11;", "double held_cost_nano_usd = 11;"),
        ("authorization", "bool dry_run = 6;", "bool try_only = 6;"),
        ("authorization", "  int64 remaining = 9;\n", ""),
        ("authorization", "  EFFECT_DENY = 2;\n", ""),
        ("authorization", "rpc Release(", "rpc GiveBack("),
        ("authorization", "package sidecar.v1;", "package sidecar.v2;"),
        ("admin", "service AdminService", "service OperatorService"),
        ("policy_input", "message Workspace", "message Team"),
    ],
)  # fmt: skip
def test_each_kind_of_breaking_change_is_found(
    file: str, promised: str, broken: str, tmp_path: Path
) -> None:
    """Changed numbers, types and names, and removals, each fail the check above."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    for path in (tmp_path / "proto").rglob("*.proto"):
        text = path.read_text()
        assert promised in text or path.stem != file
        if path.stem == file:
            path.write_text(text.replace(promised, broken))
    code, output = buf("breaking", "--against", str(BASELINE), folder=tmp_path)
    assert code != 0, output
