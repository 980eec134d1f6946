"""Every command, over names that would be markup, control codes, or lines of their own."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.commands import sidecar
from support.hostile_answers import hostile_answers
from support.mistral_admin import ADMIN_KEY
from support.operator_ledger import NOON, operator_ledger
from support.policies import minimal
from support.reservations import limit, reservation

from sidecar.cli.main import COMMANDS, OF_FLEET, OF_KEYS, OF_LEDGER
from sidecar.domain.rotation import Stage
from sidecar.ledger.key_store import KeyStore

NAME = "[b]x[/] :cat: [link=http://e]y\x1b[2J\x9b31m\u202e\x7f\ud800\nFORGED"
"""A name in a ledger: markup, an emoji's code, control codes, and a line of its own."""
SENT = NAME.replace("\ud800", "")
"""As an answer over gRPC: half a pair of surrogates cannot be sent."""
WRITTEN = "[b]x[/] :cat: [link=http://e]y\u202e"
"""As a policy file may have it, by escapes."""
_WRITTEN = json.dumps(WRITTEN)
NAMES_YAML = f"""
lists: {{{_WRITTEN}: [{_WRITTEN}]}}
roles:
  {_WRITTEN}: {{allowed_models: ["*"], max_tokens_per_request: 10, daily_token_budget: 5}}
workspaces:
  {_WRITTEN}:
    allowed_models: ["*"]
    requests_per_minute: 5
    monthly_budget_usd: 1
    labels: {{x: "a\\nFORGED\\e[2J[b]"}}
models:
  {_WRITTEN}: {{family: {_WRITTEN}}}
keys:
  {_WRITTEN}: {{workspace: {_WRITTEN}, owner: "[b]", name: "[/]"}}
"""
RULE = """\
// METADATA
// effect: deny
// owner: "[b]x[/] :cat:"
// reason: NO
// http_status: 403
// message: "[b] [/] {workspace.name} {principal.id}"
principal.id == "[b]y[/] :cat:" || ("x" in workspace.labels && workspace.labels["x"] == "")
"""
FIXTURE = """\
tests:
- name: "[b]x[/] \\e[2J\\u202e :cat:"
  steps:
  - authorize: {principal: {id: "[b]y[/] :cat:", role: tester, workspace: lab}, model: small-1}
    expect: {effect: allow}
"""
REQUEST = {
    "principal": {"id": "[b]y[/] :cat:", "role": "tester", "workspace": "lab"},
    "model": "small-1",
    "estimate": {"inputTokens": 1},
}


@dataclass
class Site:
    """Files with hostile names, and a server whose answers have them."""

    folder: Path
    address: str

    @property
    def policies(self) -> Path:
        """The policies."""
        return self.folder / "p[b]"

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.folder / "[b].sqlite"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that no command changes."""
    folder = tmp_path_factory.mktemp("hostile")
    with hostile_answers(SENT) as address:
        made = Site(folder, address)
        minimal(made.policies, names_yaml=NAMES_YAML, hostile=RULE)
        (made.policies / "x_test.yaml").write_text(FIXTURE)
        minimal(folder / "other")
        (folder / "request.json").write_text(json.dumps(REQUEST))
        (folder / "admin.key").write_text(ADMIN_KEY)
        (folder / "pepper").write_text("a pepper of 16 bytes")
        _fill(made.ledger)
        yield made


def _fill(ledger: Path) -> None:
    """Write calls, budgets, alerts and a rotation with hostile names."""
    with operator_ledger(ledger) as opened:
        names: Any = {"principal_id": SENT, "workspace": SENT, "key_id": SENT, "model_id": SENT}
        opened.spend(NOON, limit(100, scope=SENT, rule=SENT), role=SENT, **names)
        opened.decide(reservation(NOON, limit(1, scope=SENT, rule=SENT), alert_at=(50,), **names))
        opened.hold(NOON, limit(None, scope=SENT, rule=SENT), **names)
    key_store = KeyStore(ledger, lambda: NOON, SENT, 60_000_000)
    key_store.adopt(SENT, 1, SENT, SENT, NOON)
    rotation = key_store.begin(SENT, "nonce")
    key_store.advance(rotation, Stage.CREATED, SENT)
    key_store.close()


Arguments = Callable[[Site], tuple[object, ...]]
OF_ROTATION: Arguments = lambda site: (  # noqa: E731
    SENT, "--ledger", site.ledger, "--mistral-admin-key-file", site.folder / "admin.key",
    "--key-pepper-file", site.folder / "pepper", "--key-sink", f"file:{site.folder}/{{key}}.json",
    "--mistral-url", "http://127.0.0.1:9",
)  # fmt: skip
CASES: list[tuple[str, Arguments]] = [
    ("serve", lambda s: ("--policies", s.policies, "--ledger", s.ledger, "--listen", "[b]\x1b")),
    ("init", lambda s: (s.policies,)),
    ("schema", lambda s: ("--write", s.folder / "no[b]" / SENT)),
    ("schema", lambda _: ()),
    ("check", lambda s: (s.policies,)),
    ("check", lambda s: (s.policies, "--format", "json")),
    ("check", lambda s: (s.policies, "--format", "github")),
    ("check", lambda s: (s.policies, "--format", "sarif")),
    ("fmt", lambda s: (s.policies, "--diff")),
    ("fmt", lambda s: (s.policies, "--check")),
    ("list", lambda s: (s.policies,)),
    ("list", lambda s: (s.policies, "--format", "json")),
    ("test", lambda s: (s.policies, "--coverage")),
    ("test", lambda s: (s.policies, "--format", "json")),
    ("test", lambda s: (s.policies, "--format", "junit")),
    ("sign", lambda s: (s.policies, "--key", s.folder / SENT)),
    ("verify", lambda s: (s.policies, "--key", s.folder / SENT)),
    ("diff", lambda s: (s.folder / "other", s.policies)),
    ("diff", lambda s: (s.folder / "other", s.policies, "--format", "json")),
    ("explain", lambda s: (s.policies, "--request", s.folder / "request.json", "--all")),
    ("explain", lambda s: (s.policies, "--request", s.folder / SENT)),
    ("budgets", lambda s: ("--principal", "[b]", "--address", s.address)),
    ("budgets", lambda s: ("--principal", "[b]", "--address", s.address, "--format", "json")),
    ("status", lambda s: ("--admin", s.address)),
    ("status", lambda s: ("--admin", s.address, "--format", "json")),
    ("reload", lambda s: ("--admin", s.address)),
    ("healthz", lambda s: ("--address", s.address)),
    ("spend", lambda s: ("--ledger", s.ledger, "--by", "principal,key", "--since", "2100-11-01")),
    ("spend", lambda s: ("--ledger", s.ledger, "--format", "json")),
    ("spend", lambda s: ("--ledger", s.ledger, "--by", SENT)),
    ("ledger export", lambda s: ("decisions", "--ledger", s.ledger)),
    ("ledger export", lambda s: ("decisions", "--ledger", s.ledger, "--format", "json")),
    ("ledger export", lambda s: (SENT, "--ledger", s.ledger)),
    ("ledger adjust", lambda s: ("--rule", SENT, "--scope", SENT, "--amount", "0", "--signed-by",
                                 SENT, "--reason", SENT, "--admin", s.address)),
    ("ledger adjust", lambda s: ("--rule", "[b]\x1b", "--scope", SENT, "--amount", "1",
                                 "--signed-by", "x", "--reason", "x", "--ledger", s.ledger)),
    ("ledger set-time", lambda s: ("--ledger", s.ledger, "--signed-by", "x", "--reason", "x")),
    ("ledger holds", lambda s: ("--ledger", s.ledger)),
    ("ledger holds", lambda s: ("--admin", s.address)),
    ("ledger holds", lambda s: ("--admin", s.address, "--format", "json")),
    ("ledger release", lambda s: (SENT, "--admin", s.address, "--signed-by", "x", "--reason", "x")),
    ("ledger verify", lambda s: ("--ledger", s.ledger)),
    ("ledger verify", lambda s: ("--ledger", s.folder / SENT)),
    ("ledger backup", lambda s: (s.folder / "no" / SENT, "--ledger", s.ledger)),
    ("ledger restore", lambda s: (s.folder / SENT, "--ledger", s.folder / "new.sqlite")),
    ("ledger prune", lambda s: ("--ledger", s.folder / SENT)),
    ("ledger compact", lambda s: ("--ledger", s.folder / SENT)),
    ("ledger alerts", lambda s: ("--ledger", s.ledger)),
    ("ledger alerts", lambda s: ("--ledger", s.ledger, "--format", "json")),
    ("keys list", lambda s: ("--policies", s.policies, "--ledger", s.ledger)),
    ("keys list", lambda s: ("--policies", s.policies, "--ledger", s.ledger, "--format", "csv")),
    ("keys list", lambda s: ("--policies", s.policies, "--ledger", s.ledger, "--format", "json")),
    ("keys show", lambda s: (WRITTEN, "--policies", s.policies, "--ledger", s.ledger)),
    ("keys show", lambda s: (SENT, "--policies", s.policies, "--ledger", s.ledger)),
    ("keys audit", lambda s: ("--policies", s.policies, "--ledger", s.ledger)),
    ("keys audit", lambda s: ("--policies", s.policies, "--ledger", s.ledger, "--format", "json")),
    ("keys fingerprint", lambda s: ("--key-pepper-file", s.folder / SENT)),
    ("keys create", lambda s: (*OF_ROTATION(s), "--workspace-id", SENT, "--user-id", "u")),
    ("keys rotate", lambda s: (*OF_ROTATION(s), "--dry-run")),
    ("keys rollback", OF_ROTATION),
    ("keys abort", OF_ROTATION),
    ("keys abort", lambda s: (*OF_ROTATION(s), "--format", "json")),
    ("keys status", lambda s: ("--ledger", s.ledger)),
    ("keys status", lambda s: ("--ledger", s.ledger, "--format", "json")),
    ("keys status", lambda s: (SENT + "2", "--ledger", s.ledger)),
    ("fleet init", lambda s: ("--fleet-url-file", s.folder / SENT)),
    ("fleet status", lambda s: ("--fleet-url-file", s.folder / SENT)),
    ("fleet adjust", lambda s: ("--fleet-url-file", s.folder / SENT, "--rule", SENT, "--scope", SENT,
                                "--amount", "1", "--signed-by", "x", "--reason", "x")),
    ("fleet forget", lambda s: (SENT, "--fleet-url-file", s.folder / SENT, "--all-spent",
                                "--signed-by", "x", "--reason", "x")),
    ("fleet leave", lambda s: ("--ledger", s.ledger)),
    ("fleet rejoin", lambda s: ("--ledger", s.ledger)),
    ("fleet prune", lambda s: ("--fleet-url-file", s.folder / SENT)),
    ("fleet prune", lambda s: ("--fleet-url-file", s.folder / SENT, "--keep", SENT)),
    ("spend", lambda s: ("--fleet-url-file", s.folder / SENT)),
]  # fmt: skip
NAMELESS = {"init", "schema", "keys fingerprint", "ledger verify"}
"""Commands of which some output names nothing hostile."""


@pytest.mark.parametrize(("command", "arguments"), CASES, ids=lambda value: str(value)[:16])
def test_a_name_is_written_as_it_is_and_does_nothing(
    command: str, arguments: Arguments, site: Site
) -> None:
    """No traceback, no control code, no line of its own, and markup stays what it is: text."""
    code, out, err = sidecar(*command.split(), *arguments(site))
    assert "Traceback" not in err
    assert code in (0, 1, 2)
    for text in (out, err):
        odd = {c for c in text if not (c.isprintable() or c in "\n\t")}
        assert not odd, (ascii(odd), ascii(text))
        assert not any(line.startswith("FORGED") for line in text.splitlines()), text
    if command not in NAMELESS:
        assert "[b]" in unquote(out + err), out + err


def test_every_command_is_tried() -> None:
    """Those of the next version, too."""
    known = {*COMMANDS, "healthz"}
    for group, commands in (("ledger", OF_LEDGER), ("keys", OF_KEYS), ("fleet", OF_FLEET)):
        known |= {f"{group} {name}" for name in commands}
    assert {command for command, _ in CASES} == known


def test_json_keeps_every_character(site: Site) -> None:
    """Escaped for the terminal, and the same for a program."""
    _, out, _ = sidecar("ledger", "holds", "--ledger", site.ledger, "--format", "json")
    read: Any = json.loads(out)
    assert read[0]["principal"] == SENT
