"""The outside view of a running sidecar: its metrics, probes and log files."""

import json
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.sidecar_process import RunningSidecar

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

METRICS = ("--metrics-listen", "127.0.0.1:0")
HEALTH = ("--health-listen", "127.0.0.1:0")


def address(running: RunningSidecar, what: str) -> str:
    """Return the address of metrics or health from its log."""
    found = re.search(rf"{what} on (\S+:\d+)", running.log)
    assert found, running.log
    return found[1]


def connect(running: RunningSidecar) -> socket.socket:
    """Connect to the metrics listener."""
    host, port = address(running, "metrics").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def page(running: RunningSidecar) -> str:
    """Return the metrics page, scraped as Prometheus does."""
    url = f"http://{address(running, 'metrics')}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def samples(text: str) -> Samples:
    """Parse a page with Prometheus' own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    """Return the value of a sample, None without it."""
    return found.get((name, frozenset(labels.items())))


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]
