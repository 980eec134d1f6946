"""`sidecar keys list`, `show`, `audit` and `fingerprint`, run as people and jobs run them."""

import csv
import hashlib
import hmac
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mistral_spend.v1 import authorization_pb2 as pb
from support.commands import sidecar
from support.mistral_admin import ADMIN_KEY, mistral_admin
from support.operator_ledger import DAY, NOON, operator_ledger
from support.policies import SHIPPED, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, principal

from sidecar.ledger.key_store import KeyStore

Start = Callable[..., RunningSidecar]

KEYS = """
keys:
  in-order: {workspace: lab, owner: ada, created: 2100-11-01, allowed_models: [small]}
  no-use: {workspace: lab, owner: ada, created: 2100-11-01}
  long-ago: {workspace: lab, created: 2100-01-01, name: "=1+2", allowed_models: [small]}
  "@SUM(A1)": {workspace: lab, owner: "+49 1", created: 2100-11-01, expires: 2100-11-02}
  gone: {workspace: lab, owner: "-ada", state: revoked}
  "[red]\\u202e": {workspace: lab, owner: "[bold]", created: 2100-11-01, allowed_models: [small]}
"""
ODD = "[red]\u202e"


@pytest.fixture
def kept(tmp_path: Path) -> tuple[str, ...]:
    """Return the options for a registry and a ledger that was used with it."""
    policies = minimal(tmp_path / "policies", keys_yaml=KEYS)
    names = ["in-order", "no-use", "long-ago", "@SUM(A1)", "gone", ODD]
    with operator_ledger(tmp_path / "ledger.sqlite") as opened:
        ledger: Any = opened.ledger
        opened.run(ledger.track(names, NOON - 31 * DAY))
        opened.spend(NOON - 30 * DAY, key_id="long-ago")
        opened.spend(NOON - DAY, key_id="in-order", model_id="small-1")
        opened.spend(NOON, key_id=ODD)
    return ("--policies", str(policies), "--ledger", str(tmp_path / "ledger.sqlite"))


def rows(text: str) -> list[list[str]]:
    """Read CSV."""
    return list(csv.reader(io.StringIO(text)))


def test_the_list_has_all_required_columns(kept: tuple[str, ...]) -> None:
    """Name, id, created, last used, owner, workspace, state and versions."""
    code, out, err = sidecar("keys", "list", *kept, COLUMNS="200")
    assert (code, err) == (0, "")
    for words in ("created", "last used", "versions", "2100-10-11 12:00", "6 keys"):
        assert words in out
    assert "never since 2100-10-10 12:00" in out
    assert "\u202e" not in out
    assert r"[red]\u202e" in out


def test_the_list_in_json_is_whole(kept: tuple[str, ...]) -> None:
    """Times in ISO 8601 with their offset."""
    code, out, _ = sidecar("keys", "list", *kept, "--format", "json")
    found = {one["id"]: one for one in json.loads(out)}
    assert (code, len(found)) == (0, 6)
    assert found["in-order"] == {
        "id": "in-order", "name": "", "workspace": "lab", "owner": "ada", "state": "active",
        "created": "2100-11-01T00:00:00+00:00", "last_used": "2100-11-09T12:00:00+00:00",
        "counted_since": "2100-10-10T12:00:00+00:00", "calls": 1, "versions": [],
    }  # fmt: skip
    assert [found[key]["state"] for key in ("@SUM(A1)", "gone")] == ["expired", "revoked"]


@pytest.mark.parametrize("command", ["list", "audit"])
def test_no_cell_of_csv_is_a_formula(command: str, kept: tuple[str, ...]) -> None:
    """A spreadsheet shows what stands there, and evaluates nothing."""
    _, out, _ = sidecar("keys", command, *kept, "--format", "csv")
    cells = [cell for row in rows(out) for cell in row]
    assert "'@SUM(A1)" in cells
    assert not [cell for cell in cells if cell.lstrip()[:1] in {*"=+-@"} and cell]
    assert not [cell for cell in cells if not cell.isprintable()]
    if command == "list":
        assert {"'=1+2", "'+49 1", "'-ada"} <= set(cells)
        assert len({len(row) for row in rows(out)}) == 1


def test_an_audit_exits_1_with_what_it_found(kept: tuple[str, ...]) -> None:
    """A scheduled job needs no more than the exit code."""
    code, out, err = sidecar("keys", "audit", *kept, "--format", "json")
    report = json.loads(out)
    assert (code, err, report["keys"], report["at"]) == (1, "", 6, "2100-11-10T12:00:00+00:00")
    assert {(one["kind"], one["key"]) for one in report["findings"]} == {
        ("never-used", "no-use"),
        ("unused", "long-ago"),
        ("old", "long-ago"),
        ("no-owner", "long-ago"),
        ("expired", "@SUM(A1)"),
    }
    code, out, _ = sidecar("keys", "audit", *kept)
    assert (code, "6 keys, 5 findings" in out) == (1, True)


def test_a_clean_audit_exits_0(tmp_path: Path, kept: tuple[str, ...]) -> None:
    """It prints no finding."""
    keys = "keys:\n  in-order: {workspace: lab, owner: ada, created: 2100-11-01, allowed_models: [small]}\n"
    clean = minimal(tmp_path / "clean", keys_yaml=keys)
    args = ("--policies", clean, *kept[2:])
    assert sidecar("keys", "audit", *args) == (0, "1 key, 0 findings\n", "")
    code, out, _ = sidecar("keys", "audit", *args, "--format", "csv")
    assert (code, rows(out)) == (0, [["kind", "key", "finding"]])
    assert sidecar("keys", "audit", *args, "--at", "2101-02-01T00:00:00Z")[0] == 1
    assert sidecar("keys", "audit", *args, "--unused-days", "1")[0] == 1


def test_show_prints_everything_about_one_key(kept: tuple[str, ...]) -> None:
    """Its entry, its versions, each model that it called, and what to do."""
    code, out, _ = sidecar("keys", "show", "long-ago", *kept, "--format", "json")
    report = json.loads(out)
    assert (code, report["name"], report["calls"], report["expires"]) == (0, "=1+2", 1, None)
    assert [(use["model"], use["effect"], use["decisions"]) for use in report["uses"]] == [
        ("small-1", "allow", 1)
    ]
    assert [one["kind"] for one in report["findings"]] == ["no-owner", "old", "unused"]
    code, out, _ = sidecar("keys", "show", ODD, *kept)
    assert (code, r"[red]\u202e" in out, "\u202e" in out) == (0, True, False)
    code, _, err = sidecar("keys", "show", "no\x1bsuch", *kept)
    assert (code, "\x1b" in err, "no key of that id" in err) == (1, False, True)


@pytest.mark.parametrize("command", [("list",), ("audit",), ("show", "dev-team-key")])
def test_a_missing_ledger_or_registry_is_an_error(command: tuple[str, ...], tmp_path: Path) -> None:
    """No ledger is created; wrong usage exits 2."""
    args = ("keys", *command, "--policies", str(SHIPPED), "--ledger")
    code, _, err = sidecar(*args, tmp_path / "none.sqlite")
    assert (code, "none.sqlite" in err, list(tmp_path.iterdir())) == (1, True, [])
    assert sidecar("keys", *command, "--ledger", "x")[0] == 2
    assert sidecar(*args, "x", "--at", "yesterday")[0] == 2


def test_an_audit_without_a_response_of_mistral_fails(
    kept: tuple[str, ...], tmp_path: Path
) -> None:
    """It prints no partial audit, and no error shows the admin key."""
    file = tmp_path / "admin.key"
    args = ("keys", "audit", *kept, "--mistral-admin-key-file", file)
    assert sidecar(*args)[0] == 2
    file.write_text("very-secret-admin-key\n")
    code, out, err = sidecar(*args, "--mistral-url", "ftp://127.0.0.1")
    assert (code, out, "very-secret" in err) == (2, "", False)
    code, out, err = sidecar(*args, "--mistral-url", "http://127.0.0.1:9")
    assert (code, out, "very-secret" in err) == (1, "", False)


def test_an_audit_works_while_a_sidecar_uses_the_ledger(start_sidecar: Start) -> None:
    """U1: each use shows at once; after kill -9, too; and a revoked version is denied."""
    started = start_sidecar()
    args = ("--policies", started.policies, "--ledger", started.ledger, "--format", "json")

    def ask(key_id: str, **changes: Any) -> list[str]:
        answer = started.stub.Authorize(chat(principal(key_id=key_id), **changes))
        assert (answer.effect == pb.EFFECT_ALLOW) == (not answer.reasons)
        return [reason.code for reason in answer.reasons]

    def calls() -> dict[str, int]:
        _, out, _ = sidecar("keys", "show", "dev-team-key", *args)
        return {use["key"]: use["decisions"] for use in json.loads(out)["uses"]}

    key_store = KeyStore(started.ledger, lambda: 1, "test", 1)
    key_store.adopt("dev-team-key", 1, "dev-team-key", "id-1", None)
    assert (ask("dev-team-key#1"), ask("dev-team-key"), ask("made-up")) == ([], [], ["KEY_UNKNOWN"])
    assert calls() == {"dev-team-key#1": 1, "dev-team-key": 1}
    started.stop(9)
    assert calls() == {"dev-team-key#1": 1, "dev-team-key": 1}
    started.restart()
    assert ask("dev-team-key#1") == []
    assert calls() == {"dev-team-key#1": 2, "dev-team-key": 1}
    key_store.adopt("dev-team-key", 2, "dev-team-key-v2", "id-2", None)  # which revokes the first
    key_store.close()
    assert eventually(lambda: ask("dev-team-key#1", dry_run=True), 30) == ["KEY_REVOKED"]
    assert (ask("dev-team-key#2"), ask("dev-team-key")) == ([], [])


def fingerprint(secret: bytes, *args: object) -> tuple[int, str, str]:
    """Run `sidecar keys fingerprint` with a secret on its standard input."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "sidecar", "keys", "fingerprint", *map(str, args)],
        input=secret, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_fingerprint_finds_the_version_of_a_secret(tmp_path: Path) -> None:
    """Only with the operator's pepper; with another, it cannot be recognized."""
    pepper, path = tmp_path / "pepper", tmp_path / "ledger.sqlite"
    pepper.write_bytes(b"0123456789abcdef\n")
    pepper.chmod(0o600)
    given = ("--key-pepper-file", pepper)
    digest = hashlib.sha256(b"the-secret").hexdigest()
    mac = hmac.new(b"0123456789abcdef", digest.encode(), "sha256").hexdigest()
    code, out, err = fingerprint(b"the-secret\n", *given)
    assert (code, out.strip().rpartition(":")[2], err) == (0, mac, "")
    key_store = KeyStore(path, lambda: 1, "test", 1)
    for number, value in ((1, digest), (2, out.strip())):
        key_store.identify(
            key_store.adopt("KEY", number, f"n{number}", f"id-{number}", None), "", value, None
        )
    key_store.close()
    known = fingerprint(b"the-secret", "--ledger", path, *given)
    assert known[1].splitlines()[1:] == ["KEY#1: revoked", "KEY#2: active"]  # 1 had no pepper
    pepper.write_bytes(b"another pepper of mine")
    assert fingerprint(b"the-secret", "--ledger", path, *given)[0] == 0
    code, _, err = fingerprint(b"whose-is-it", "--ledger", path, *given)
    assert (code, "whose-is-it" in err, "may be one of KEY#2, whose" in err) == (1, False, True)


@pytest.mark.parametrize("secret", [b"", b" ", b"two words", b"\xff\xfe", b"x" * 5000, b"a\x00b"])
def test_an_invalid_secret_is_refused_and_not_shown(secret: bytes, tmp_path: Path) -> None:
    """Nothing of it is in the error."""
    (tmp_path / "pepper").write_bytes(b"0123456789abcdef")
    code, out, err = fingerprint(secret, "--key-pepper-file", tmp_path / "pepper")
    assert (code, out, "is not a credential" in err, "two" in err) == (2, "", True, False)


def test_a_pepper_that_every_user_can_read_is_used_with_a_warning(tmp_path: Path) -> None:
    """Kubernetes mounts Secrets so, if a pod does not say otherwise."""
    pepper = tmp_path / "pepper"
    pepper.write_bytes(b"0123456789abcdef")
    for mode, is_warned in ((0o644, True), (0o640, False), (0o400, False)):
        pepper.chmod(mode)
        code, _, err = fingerprint(b"a-secret-of-mine", "--key-pepper-file", pepper)
        assert (code, "every user of this host can read the pepper" in err) == (0, is_warned)
        assert "0123456789abcdef" not in err


@pytest.mark.parametrize("pepper", [b"", b"too short", b"x" * 5000])
def test_a_pepper_has_a_minimum_length(pepper: bytes, tmp_path: Path) -> None:
    """A short one could be guessed."""
    file = tmp_path / "pepper"
    file.write_bytes(pepper)
    assert fingerprint(b"secret", "--key-pepper-file", file)[0] == 2
    assert fingerprint(b"secret", "--key-pepper-file", tmp_path / "none")[0] == 2
    assert fingerprint(b"secret")[0] == 2


@pytest.mark.parametrize("shape", ["admin", "seed"])
def test_the_registry_is_compared_with_mistral(
    kept: tuple[str, ...], shape: str, tmp_path: Path
) -> None:
    """What only one side has, and what should be dead; names from there are shown as they are."""
    with mistral_admin() as mistral:
        for name in ("in-order", "gone", "long-ago", "no-use", "=cmd|' /C calc'!A0\x1b[31m"):
            mistral.has(name)
        file = tmp_path / "admin.key"
        file.write_text(ADMIN_KEY)
        there = ("--mistral-admin-key-file", file, "--mistral-url", mistral.url)
        code, out, err = sidecar(
            "keys", "audit", *kept, *there, "--mistral-shape", shape, "--format", "csv"
        )
        found = {(kind, key) for kind, key, _ in rows(out)[1:]}
    assert (code, err, ADMIN_KEY in out) == (1, "", False)
    assert {("alive-at-mistral", "gone"), ("not-at-mistral", "[red]\\u202e")} <= found
    assert ("not-registered", "'=cmd|' /C calc'!A0\\x1b[31m") in found
    assert len([kind for kind, _ in found if "mistral" in kind or "registered" in kind]) == 3
