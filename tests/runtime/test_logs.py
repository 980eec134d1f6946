"""The log, when its reader is slow."""

import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.commands import sidecar as command
from support.policies import deny, minimal
from support.sidecar_process import RunningSidecar, chat, tester

PROGRAM = """
import logging, sys
from sidecar.runtime import logs
logs.MAX_LINES = 10
with logs.to_standard_error():
    for number in range(3000):
        logging.getLogger("test").info("line %d %s", number, "x" * 100)
    print("written", flush=True)
    sys.stdin.readline()
    logging.getLogger("test").info("the last line")
"""


def test_lines_that_are_not_read_in_time_are_dropped_and_counted() -> None:
    """The program continues, and the log later says how many lines are missing."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "written\n"  # though the pipe is full
        seen = dropped = 0
        while seen + dropped < 3000:  # every line was written or counted
            line = process.stderr.readline()
            if found := re.search(r"(\d+) lines of the log were dropped", line):
                dropped += int(found[1])
            else:
                seen += 1
        assert dropped > 1000
        _, rest = process.communicate("\n")
        assert "the last line" in rest


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Two rules, of which one has no effect."""
    return minimal(
        tmp_path / "p",
        large=deny("request.tokens > 1000", message="no, {principal.id}"),
        trial=deny("request.tokens == 200", mode="shadow"),
    )


def decisions(running: RunningSidecar, allows: int, denials: int) -> dict[str, str]:
    """Have so many made; return their effects by their ids."""
    who = tester(id="ada@example.com", key_id="key-17", labels={"token": "hunter2"})
    answers = [running.stub.Authorize(chat(who, model="small-1")) for _ in range(allows)]
    large = {"input_tokens": 5000}
    answers += [
        running.stub.Authorize(chat(who, model="small-1", estimate=large)) for _ in range(denials)
    ]
    return {a.decision_id: "deny" if a.reasons else "allow" for a in answers}


def test_as_json_each_line_is_an_object_with_the_decisions_id(
    start_sidecar: Callable[..., RunningSidecar], policies: Path
) -> None:
    """From the first line to the last; no line has a principal or a label."""
    running = start_sidecar(policies, "--log-format", "json", "--log-decisions", "all")
    made = decisions(running, 3, 2)
    assert running.stop() == 0
    lines = [json.loads(line) for line in running.log.splitlines()]
    for line in lines:
        assert datetime.fromisoformat(line["ts"]).utcoffset() == timedelta()
        level = "WARNING" if "a new ledger" in line["message"] else "INFO"
        assert (line["level"], bool(line["message"]), bool(line["logger"])) == (level, True, True)
    logged = [line for line in lines if "effect" in line]
    assert made == {line["decision_id"]: line["effect"] for line in logged}
    assert [line["rules"] for line in logged if line["effect"] == "deny"] == [["large"], ["large"]]
    shadows = [line["decision_id"] for line in lines if ": shadow trial: NO" in line["message"]]
    assert shadows == [name for name, effect in made.items() if effect == "allow"]
    for private in ("ada@example.com", "key-17", "hunter2"):
        assert private not in running.log


@pytest.mark.parametrize(
    ("flags", "allows", "denials"),
    [
        ((), 0, 0),
        (("--log-decisions", "none"), 0, 0),
        (("--log-decisions", "deny"), 0, 3),
        (("--log-decisions", "all", "--log-allow-sample", "0"), 0, 3),
        (("--log-decisions", "all"), 3, 3),
    ],
)
def test_the_selected_decisions_have_a_line(
    flags: tuple[str, ...], allows: int, denials: int,
    start_sidecar: Callable[..., RunningSidecar], policies: Path,
) -> None:  # fmt: skip
    """Every denial, or none; and a part of the allows."""
    running = start_sidecar(policies, *flags)
    decisions(running, 3, 3)
    assert running.stop() == 0
    assert allows == len(re.findall(r"decision dec_[\w-]+ \(enforce\): allow", running.log))
    assert denials == len(re.findall(r"decision dec_[\w-]+ \(enforce\): deny NO", running.log))


def test_a_sample_of_allows_is_drawn_by_their_ids(
    start_sidecar: Callable[..., RunningSidecar], policies: Path
) -> None:
    """The id decides whether an allow has a line; every denial has one."""
    flags = ("--log-decisions", "all", "--log-allow-sample", "0.5")
    running = start_sidecar(policies, *flags)
    made = decisions(running, 60, 5)
    assert running.stop() == 0
    logged = set(re.findall(r"decision (dec_[\w-]+) \(enforce\)", running.log))
    drawn = {
        name for name, effect in made.items()
        if effect == "deny" or zlib.crc32(name.encode()) < 2**31
    }  # fmt: skip
    assert drawn == logged
    assert 5 < len(drawn) < 65


SURROGATE = """
import json, logging
from sidecar.runtime import logs
with logs.to_standard_error(logs.LogFormat.JSON):
    log = logging.getLogger("test")
    log.info("half of a pair: %s, a line\\nin a line, \\"quoted\\"", "\\ud800")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")
"""


def test_whatever_is_logged_is_one_line_of_json() -> None:
    """Half a surrogate pair, new lines, quotes, and a traceback."""
    code, _, err = command(program=SURROGATE)
    first, second = [json.loads(line) for line in err.splitlines()]
    assert (code, first["message"]) == (0, 'half of a pair: ?, a line\nin a line, "quoted"')
    assert (second["level"], "ValueError: no" in second["exception"]) == ("ERROR", True)
