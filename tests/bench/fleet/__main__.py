"""The benchmark of a fleet: decisions, calls, losses and sizes, each beside what it is compared with.

docs/performance.md says how to read the table. Needs PostgreSQL's server and h2load (Debian:
postgresql, nghttp2-client). Compare figures of one run only, by their ratios.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleet.postgres_server import PostgresServer
from support import tools

from bench.fleet import calls, decisions, drain, hot_budget, kills, starts
from bench.fleet.books import durable_server
from bench.fleet.figures import Section, markdown
from bench.fleet.plan import FAST, FULL, Plan
from bench.servers import StartError
from sidecar.cli.terminal import say, say_json

BUILD = tools.ROOT / "build"
EXAMPLES = """examples:
  make bench-fleet                        all of it, in five to six minutes
  make bench-fleet FAST=1                 in a minute, to see that it works
  make bench-fleet FORMAT=json > fleet.json"""

Measure = Callable[[Plan, PostgresServer, Path], Section]
PARTS: dict[str, Measure] = {
    "decisions of many processes": decisions.measure,
    "calls over gRPC": calls.measure,
    "memory and start": starts.measure,
    "a hot budget": lambda plan, server, _: hot_budget.measure(plan, server),
    "kills": kills.measure,
    "a budget that is used up": drain.measure,
}


def main() -> int:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(
        "bench.fleet", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--fast", action="store_true", help="with small numbers, in a minute")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    try:
        sections = list(run(FAST if options.fast else FULL, BUILD))
    except (tools.MissingError, StartError) as error:
        say(f"bench: {error}", err=True)
        return 1
    if options.format == "json":
        say_json(document(sections))
    else:
        say(*markdown(sections))
    return 0


def run(plan: Plan, parent: Path) -> Iterator[Section]:
    """Measure all parts, with files in a new folder. Raises MissingError or StartError."""
    tools.require("h2load")
    began = time.monotonic()
    # Not in /tmp, which may be memory: a commit has to wait for a disk.
    with durable_server() as server, tempfile.TemporaryDirectory(dir=parent) as folder:
        for number, (name, measure) in enumerate(PARTS.items(), 1):
            say(f"{time.monotonic() - began:4.0f} s  {number}/{len(PARTS)} {name}", err=True)
            place = Path(folder, str(number))
            place.mkdir()
            yield measure(plan, server, place)
        say(f"{time.monotonic() - began:4.0f} s  done", err=True)


def document(sections: list[Section]) -> list[dict[str, Any]]:
    """Return everything as JSON."""
    return [
        {"title": section.title}
        | {"figures": [asdict(it) | {"is_met": it.is_met} for it in section.figures]}
        for section in sections
    ]


if __name__ == "__main__":
    sys.exit(main())
