"""The examples of the documents work."""

import asyncio
import hashlib
import hmac
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from standardwebhooks import WebhookVerificationError
from support import policies
from support.alerts import alert
from support.receiver import SECRET, receiver
from support.sidecar_process import RunningSidecar, chat, principal, stub

from sidecar.alerts.webhook import WebhookChannel, signature
from sidecar.identity.proofs import read_mapping
from sidecar.policy import policy_set
from sidecar.policy.files import header
from sidecar.policy.trace import RuleTraces
from sidecar.policy_tools.testing import fixtures
from sidecar.policy_tools.testing.coverage import Coverage
from sidecar.policy_tools.testing.runner import run_fixtures
from sidecar.policy_tools.testing.validate import validate_fixtures

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "sidecar" / "starter"
README = (ROOT / "README.md").read_text()
ALERTS = (ROOT / "docs" / "alerts.md").read_text()
IDENTITY = (ROOT / "docs" / "identity.md").read_text()
POLICIES = (ROOT / "docs" / "policies.md").read_text()
EXAMPLES = (ROOT / "docs" / "examples.md").read_text()
POLICY_DATA = (ROOT / "docs" / "policy-data.md").read_text()
POLICY_TOOLS = (ROOT / "docs" / "policy-tools.md").read_text()
FAILURES = (ROOT / "docs" / "failures.md").read_text()
THREATS = (ROOT / "docs" / "threat-model.md").read_text()


def blocks(text: str) -> list[str]:
    """Return the blocks of text that are indented by four spaces."""
    found = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() + "\n" for block in found]


def test_the_readmes_rule_is_one_of_the_shipped(tmp_path: Path) -> None:
    """The rule in the README, without its remarks, loads."""
    rule = next(block for block in blocks(README) if block.startswith("// METADATA"))
    rule = re.sub(r"(?m)^(// \w+: .*?) {4,}.*$", r"\1", rule)
    directory = policies.minimal(tmp_path / "p", monthly=rule)
    assert "monthly" in [rule.id for rule in policy_set.load(directory).limits]


def test_the_documented_data_loads(tmp_path: Path) -> None:
    """The YAML in docs/policy-data.md is accepted as it stands."""
    text = next(block for block in blocks(POLICY_DATA) if block.startswith("roles:"))
    sections = {"roles", "workspaces", "models", "multipliers", "keys", "lists"}
    assert sections == set(yaml.safe_load(text))
    directory = policies.shipped(tmp_path / "p")
    for file in directory.glob("*.yaml"):
        file.unlink()
    (directory / "all.yaml").write_text(text)
    assert "developer" in policy_set.load(directory).catalogue.roles


def test_the_documented_fixture_runs(tmp_path: Path) -> None:
    """The fixture in docs/policy-tools.md passes on the shipped policies, as it stands."""
    text = next(block for block in blocks(POLICY_TOOLS) if block.startswith("tests:"))
    directory = policies.shipped(tmp_path / "p")
    for file in directory.glob("*_test.yaml"):
        file.unlink()
    (directory / "x_test.yaml").write_text(text)
    found, problems = fixtures.read(directory)
    assert (len(found), problems) == (2, [])
    outcomes = run_fixtures(policy_set.load(directory), found)
    assert [outcome.mismatches for outcome in outcomes] == [[], []]


def test_the_documented_check_of_a_signature_works() -> None:
    """The function in docs/alerts.md, as it stands, takes what the sidecar signs alone."""
    text = next(block for block in blocks(ALERTS) if block.startswith("def is_ours"))
    names: dict[str, Any] = {"hashlib": hashlib, "hmac": hmac, "time": time}
    exec(compile(text, "alerts.md", "exec"), names)  # noqa: S102 - our own document
    now = int(time.time())
    for secret, at, body, ours in (
        (b"key", now, b"{}", True),
        (b"yek", now, b"{}", False),
        (b"key", now, b"{ }", False),
        (b"key", now - 3600, b"{}", False),
    ):
        assert ours == names["is_ours"](b"key", signature(secret, at, b"{}"), body)


def test_the_documented_receiver_of_webhooks_works() -> None:
    """The lines in docs/alerts.md, as they stand, read an alert that was posted, and no other."""
    text = next(block for block in blocks(ALERTS) if block.startswith("from standardwebhooks"))

    async def post(url: str) -> None:
        channel = WebhookChannel(url, SECRET.encode())
        await channel.deliver(alert())
        await channel.close()

    with receiver() as server:
        asyncio.run(post(server.url))
    ((_, headers, body),) = server.requests
    names: dict[str, Any] = {"secret": SECRET.encode(), "body": body, "headers": headers}
    exec(compile(text, "alerts.md", "exec"), names)  # noqa: S102 - our own document
    assert names["alert"] == alert().document()
    with pytest.raises(WebhookVerificationError):
        exec(compile(text, "alerts.md", "exec"), names | {"body": body + b" "})  # noqa: S102


def test_the_documented_body_has_what_an_alert_has() -> None:
    """Every field, and no other."""
    text = next(block for block in blocks(ALERTS) if block.startswith('{"text"'))
    assert list(json.loads(text)) == list(alert().document())


def test_the_documented_claims_compile() -> None:
    """Each --claim of docs/identity.md, with the quotes that a shell takes away."""
    found = re.findall(r"--claim ('[^']*'|[a-z]+=\S+)", IDENTITY)
    pairs = [pair.strip("'") for pair in found if not pair.startswith("FIELD")]
    assert len(pairs) == 4
    for pair in pairs:
        assert read_mapping([pair, *(() if pair.startswith("id=") else ["id=claims.sub"])])


def test_every_key_of_a_header_is_documented() -> None:
    """docs/policies.md has a row for each key, and for no other."""
    table = re.findall(r"^\| `(\w+)` \| (?:all|deny|limit)", POLICIES, re.MULTILINE)
    assert set(table) == header.FOR_ALL | header.FOR_REFUSALS | header.FOR_LIMITS


def examples() -> dict[str, dict[str, str]]:
    """Return the files of each example in docs/examples.md, by its title."""
    file = re.compile(r"^`([\w.-]+)`:\n\n((?: {4}.*\n|\n(?= {4}))+)", re.MULTILINE)
    return {
        section.partition("\n")[0]: {name: blocks(text)[0] for name, text in file.findall(section)}
        for section in EXAMPLES.split("\n## ")[1:]
    }


@pytest.mark.parametrize("title", examples())
def test_each_example_of_a_policy_works(title: str, engine: str, tmp_path: Path) -> None:
    """On the set of `sidecar init`: no problem, and its fixtures pass and cover its rules."""
    directory = tmp_path / "p"
    shutil.copytree(STARTER, directory)
    for file in directory.glob("*_test.yaml"):
        file.unlink()
    for name, text in examples()[title].items():
        (directory / name).write_text(text)
    policy = policy_set.load(directory, engine)
    found, problems = fixtures.read(directory)
    assert problems + validate_fixtures(found, policy) == []
    results = list(run_fixtures(policy, found))
    assert results
    assert [result.mismatches for result in results] == [[]] * len(results)
    coverage = Coverage(RuleTraces(policy))
    coverage.record(results)
    rules = {name.removesuffix(".cel") for name in examples()[title] if name.endswith(".cel")}
    assert [item.part.text for item in coverage.items if item.rule in rules and item.missing] == []


LIST_LABEL_FIXTURE = """
tests:
- name: ada of ${teams}
  each:
  - {teams: search, reasons: []}
  - {teams: "search, ML", reasons: [NO]}
  - {teams: "mlops,html", reasons: []}
  - {teams: "", reasons: []}
  steps:
  - authorize: {principal: {id: ada, role: tester, workspace: lab, labels: {teams: "${teams}"}},
                model: small-1, estimate: {input_tokens: 100, max_output_tokens: 100}}
    expect: {reasons: "${reasons}"}
"""


def test_the_documented_list_in_a_label_is_read(tmp_path: Path) -> None:
    """The condition in docs/policies.md, as it stands, on both engines."""
    (condition,) = (block for block in blocks(POLICIES) if ".split(" in block)
    directory = policies.minimal(tmp_path / "p", x=policies.deny(condition))
    (directory / "x_test.yaml").write_text(LIST_LABEL_FIXTURE)
    found, problems = fixtures.read(directory)
    assert (len(found), problems) == (4, [])
    for engine in ("cel-cpp", "cel-python"):
        outcomes = run_fixtures(policy_set.load(directory, engine), found)
        assert [outcome.mismatches for outcome in outcomes] == [[]] * 4


def test_the_documented_ways_to_fail_do_so(start_sidecar: Callable[..., RunningSidecar]) -> None:
    """docs/failures.md: open calls without an answer, closed does not; a Deny is one for both."""
    (snippet,) = re.findall(r"```python\n(.*?)```", FAILURES, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "failures.md", "exec"), names)  # noqa: S102 - our own document
    running = start_sidecar()
    denied = chat(principal(role="analyst"), model="mistral-large-latest")
    for sidecar, request, closed, opened in (
        (running.stub, chat(), True, True),
        (running.stub, denied, False, False),
        (stub("unix:/nowhere/sidecar.sock"), chat(), False, True),
    ):
        decision = names["ask"](sidecar, request)
        assert closed == names["may_call_fail_closed"](decision)
        assert opened == names["may_call_fail_open"](decision)
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        names["ask"](running.stub, chat(principal(id="")))


def test_every_claim_about_threats_names_a_test_that_exists() -> None:
    """Each row of docs/threat-model.md ends with a test, which is in its file."""
    tables = re.findall(r"\| threat \| answer \| test \|\n\|[-|]+\n((?:\|.*\n)+)", THREATS)
    rows = [row.strip("| ") for row in "".join(tables).splitlines()]
    assert len(rows) > 20
    for row in rows:
        *_, named = row.split(" | ")
        file, _, test = named.strip("`").partition("::")
        assert f"\ndef {test}(" in (ROOT / file).read_text(), row


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and the site make them."""
    titles = re.findall(r"(?m)^#+ (.+)$", document.read_text())
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link is to a file or a folder, and its anchor to one of the headings."""
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)  # code has none
        for link, anchor in re.findall(r"\]\(([^):#]*)(?:#([^)]+))?\)", text):
            target = document.parent / link if link else document
            assert target.exists(), (document.name, link)
            assert not anchor or anchor in anchors(target), (document.name, link, anchor)


def test_the_index_of_the_documents_has_every_page() -> None:
    """docs/README.md answers some question with each of them."""
    index = ROOT / "docs" / "README.md"
    linked = re.findall(r"\]\(([\w-]+\.md)", index.read_text())
    assert {page.name for page in index.parent.glob("*.md")} - {index.name} == set(linked)
