"""The benchmark: what a decision costs, beside an empty handler, Cerbos and a yardstick on Redis.

docs/performance.md says how it measures, and how to read its tables. Needs h2load (Debian:
nghttp2-client). Compare figures of one run only, by their ratios.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support import tools

from bench import report
from bench.aims import aims
from bench.benchmark import Plan, progress, run
from bench.comparison import changes_table, compare
from bench.results import Results
from bench.servers import StartError
from bench.sidecars import RevisionError
from sidecar.cli.tables import print_table
from sidecar.cli.terminal import say, say_json

BUILD = tools.ROOT / "build"
EXAMPLES = """examples:
  make bench                              all of it, in about ten minutes
  make bench ROWS=10000000 FILLED=build/10m.sqlite
                                          on a large ledger, kept for the next time
  make bench AGAINST=HEAD~1               this checkout, and the commit before, in turn
  make bench AGAINST=main FORMAT=json > comparison.json"""


def main() -> int:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(
        "bench", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--calls", type=int, default=2_000, help="calls of each row and round; default: 2000"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that medians are taken of; default: 5"
    )
    parser.add_argument(
        "--rows", type=int, default=100_000, help="decisions in the full ledger; default: 100000"
    )
    parser.add_argument("--filled", type=Path, help="keep the full ledger in this file")
    parser.add_argument("--against", metavar="REVISION", help="compare with this commit instead")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    for name, least in (("calls", 100), ("rounds", 1), ("rows", 3)):
        if getattr(options, name) < least:
            parser.error(f"--{name}: at least {least}")
    plan = Plan(options.calls, options.rounds, options.rows, options.filled)
    BUILD.mkdir(exist_ok=True)
    # Not in /tmp, which may be memory: a commit has to wait for a disk.
    with tempfile.TemporaryDirectory(dir=BUILD) as folder, progress() as shown:
        try:
            tools.require("h2load")
            if options.against is not None:
                changes = compare(options.against, plan.calls, plan.rounds, Path(folder), shown)
            else:
                results = run(plan, Path(folder), shown)
        except (tools.MissingError, RevisionError, StartError) as error:
            say(f"bench: {error}", err=True)
            return 2 if isinstance(error, RevisionError) else 1
    if options.against is not None and options.format == "json":
        say_json({"against": options.against, "changes": [asdict(it) for it in changes]})
    elif options.against is not None:
        print_table(changes_table(options.against, changes))
    elif options.format == "json":
        say_json(document(results))
    else:
        for table in report.tables(results):
            print_table(table)
    return 0


def document(results: Results) -> dict[str, Any]:
    """Return everything as JSON."""
    met = [asdict(aim) | {"is_met": aim.is_met} for aim in aims(results)]
    return asdict(results) | {"aims": met}


if __name__ == "__main__":
    sys.exit(main())
