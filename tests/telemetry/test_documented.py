"""The list of metrics, the dashboard and what a running sidecar shows are one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.outside import METRICS, page
from support.policies import deny, limit, minimal
from support.sidecar_process import RunningSidecar, chat, eventually, tester

from sidecar.telemetry import names

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())

DECLARED = [name for name in vars(names).values() if isinstance(name, names.Name)] + names.BUDGETS


@pytest.fixture
def families(
    start_sidecar: Callable[..., RunningSidecar], tmp_path: Path
) -> dict[str, dict[str, Any]]:
    """What a sidecar that has seen everything shows: type, help and labels of each metric."""
    policies = minimal(
        tmp_path / "p",
        requests=limit("100"),
        tokens=limit("500", meter="tokens"),
        cost=limit("100", meter="cost"),
        large=deny("request.tokens > 1000"),
    )
    flags = ("--decision-log", str(tmp_path / "d"), "--alert-command", "false")
    running = start_sidecar(policies, *METRICS, *flags)
    for tokens in (100, 100, 5000):
        estimate = {"input_tokens": tokens}
        hold = running.stub.Authorize(chat(tester(), model="small-1", estimate=estimate)).hold_id
    assert not hold
    eventually(lambda: "sidecar_alerts_failed_total{" in page(running))
    text = page(running)
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = {"type": family.type, "help": family.documentation, "labels": labels}
    return found


def test_declared_documented_and_exported_metrics_are_equal(
    families: dict[str, dict[str, Any]],
) -> None:
    """Each metric with its type, its labels and its help text; and no other."""
    rows = re.findall(
        r"^\| `(sidecar_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", DOCUMENT, re.MULTILINE
    )
    documented = {
        name: {"type": kind, "help": text, "labels": set(re.findall(r"`(\w+)`", labels))}
        for name, kind, labels, text in rows
    }
    shown = {name: family for name, family in families.items() if name.startswith("sidecar_")}
    assert shown == documented
    declared = {name.name: (name.help, set(name.labels)) for name in DECLARED}
    assert declared == {name: (f["help"], f["labels"]) for name, f in shown.items()}


def test_names_follow_the_conventions(families: dict[str, dict[str, Any]]) -> None:
    """A prefix, `_total` for counters alone, and units last."""
    for name, family in families.items():
        assert name.startswith(("sidecar_", "process_"))
        assert name.endswith("_total") == (family["type"] == "counter"), name
        assert not re.search(r"_(ms|us|milliseconds|microseconds|nano_usd)(_|$)", name)


def test_the_dashboard_uses_existing_metrics(
    families: dict[str, dict[str, Any]],
) -> None:
    """Every metric and label in its queries exists; every metric has a panel."""
    queries = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
    ] + [v["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    queried = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for query in queries
        for name in re.findall(r"\b(?:sidecar|process)_\w+", query)
    }
    assert queried <= set(families)
    assert {name for name in families if name.startswith("sidecar_")} <= queried
    for query in queries:
        for name in re.findall(r"by \(([^)]*)\)", query):
            for label in re.split(r",\s*", name):
                known = {k for f in families.values() for k in f["labels"]} | {"le", "instance"}
                assert label in known


def test_the_dashboards_panels_do_not_overlap() -> None:
    """Each has an id and a place of its own, and a title."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert panel["title"]
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
