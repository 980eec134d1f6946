"""A command loads what it needs: people and jobs wait for it, in a pod's share of a core."""

import json
import signal
from pathlib import Path

import pytest
from support.commands import sidecar, started
from support.policies import SHIPPED, limit, minimal
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.cli import main

EVALUATORS = {"celpy", "cel_expr_python", "lark", "yaml"}


@pytest.mark.parametrize(
    ("command", "idle"),
    [
        (("list", SHIPPED), {"grpc", "sqlite_utils", "cryptography", "httpx2"}),
        (("check", SHIPPED), {"grpc", "sqlite_utils", "cryptography", "httpx2"}),
        (("spend", "--ledger", "none"), EVALUATORS | {"grpc", "asyncio"}),
        (("ledger", "verify", "--ledger", "none"), EVALUATORS | {"grpc"}),
        (("ledger", "adjust", "--help"), EVALUATORS),
        (("status", "--admin", "unix:/none"), EVALUATORS | {"sqlite_utils", "sidecar.ledger"}),
        (("init", "/dev/null/p"), EVALUATORS | {"grpc", "sqlite_utils", "rich.console"}),
        (("fleet", "status", "--help"), EVALUATORS | {"grpc", "sqlite_utils", "asyncpg"}),
        (
            ("fleet", "status", "--fleet-url-file", "none"),
            EVALUATORS | {"grpc", "sqlite_utils", "httpx2"},
        ),
        (("fleet", "rejoin", "--ledger", "none"), EVALUATORS | {"grpc", "asyncpg"}),
        (("keys", "fingerprint", "--help"), EVALUATORS | {"grpc", "httpx2"}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_command_loads_nothing_that_it_does_not_need(
    command: tuple[object, ...], idle: set[str], tmp_path: Path
) -> None:
    """Each of these modules takes as long to load as some commands run."""
    modules = tmp_path / "modules.json"
    program = (
        "import json, pathlib, sys\n"
        f"sys.argv = {['sidecar', *map(str, command)]}\n"
        "from sidecar.cli.entry import main\n"
        "try:\n    main()\n"
        f"finally:\n    pathlib.Path({str(modules)!r}).write_text(json.dumps(list(sys.modules)))\n"
    )
    sidecar(program=program)
    loaded = set(json.loads(modules.read_text()))
    assert "typer" in loaded
    assert idle & loaded == set()


def test_a_variable_that_serve_reads_loads_no_other_command(tmp_path: Path) -> None:
    """Other commands are loaded only to look up a variable that it does not read."""
    program = (
        "import sys\n"
        f"sys.argv = ['sidecar', 'serve', '--policies', {str(tmp_path)!r}, '--ledger', 'none']\n"
        "from sidecar.cli.entry import main\n"
        "try:\n    main()\n"
        "finally:\n    print('sidecar.cli.spend' in sys.modules)\n"
    )
    assert sidecar(program=program, SIDECAR_SHARE="1/2")[1] == "False\n"
    assert sidecar(program=program, SIDECAR_SERVICE_HOST="10.0.0.1")[1] == "True\n"


@pytest.mark.parametrize("name", sorted({*main.OF_KEYS.values()}))
def test_each_command_of_keys_loads_alone(name: str) -> None:
    """It needs no module that another command would have loaded."""
    (command,) = [word for word, place in main.OF_KEYS.items() if place == name]
    code, out, err = started("keys", command, "--help")
    assert (code, f"keys {command}" in out, err) == (0, True, "")


@pytest.mark.parametrize(
    "command",
    [
        ("list", SHIPPED),
        ("check", SHIPPED, "--format", "json"),
        ("check", "/nowhere"),
        ("explain", SHIPPED, "--request", "-"),
        ("spend", "--ledger", "none"),
        ("serve", "--polices", "x"),
        ("serve", "--policies", SHIPPED, "--ledger", "/nowhere/l", "--listen", "127.0.0.1:0"),
        ("lits",),
        (),
    ],
    ids=lambda command: " ".join(map(str, command)),
)
def test_a_fork_behaves_as_a_new_process(command: tuple[object, ...]) -> None:
    """Most tests run forks: they end as `python -m sidecar` ends, and say the same."""
    assert sidecar(*command) == started(*command)


def test_a_fork_serves_and_ends_as_a_new_process(tmp_path: Path) -> None:
    """It answers, ends cleanly on SIGTERM, and by the signal when it is killed."""
    directory = minimal(tmp_path / "p", daily=limit("5"))
    for env in ({}, {"PYTHONDONTWRITEBYTECODE": "1"}):  # which only an interpreter reads
        running = RunningSidecar(directory, tmp_path / "ledger.sqlite", env=env).start()
        assert running.stub.Authorize(chat(tester())).effect
        assert running.stop() == 0
        running.restart()
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
