"""An option that takes one value is given once, in every command."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.commands import sidecar
from support.operator_ledger import NOON, operator_ledger

from sidecar.cli.healthz import probe
from sidecar.cli.main import app


def commands(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Return each command that does something, with its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
    else:
        for name in inner:
            yield from commands(inner[name], *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


def options(name: str) -> list[Any]:
    """Return the options of a command."""
    params = COMMANDS[name].params
    return [one for one in params if one.param_type_name == "option"]


def refusal(name: str, *args: str) -> str:
    """Return why a command line is refused, or nothing; the command does not run."""
    try:
        COMMANDS[name].make_context(name, list(args))
    except Exception as error:  # click's, or its copy in typer
        return str(getattr(error, "message", error))
    return ""


def test_every_command_is_covered_by_these_tests() -> None:
    """The next tests go through the whole command line."""
    assert {"serve", "spend", "ledger verify", "keys rotate", "healthz"} <= set(COMMANDS)
    found = [one for name in COMMANDS for one in options(name)]
    assert sum(not one.is_flag and not one.multiple for one in found) > 150
    assert {one.opts[0] for one in found if one.multiple} >= {"--listen", "--pin", "--label"}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_takes_one_value_is_given_once(name: str) -> None:
    """One of two values would be ignored silently. A list takes both."""
    for option in options(name):
        flag, is_list = option.opts[0], option.multiple
        if option.is_flag and not option.secondary_opts:
            continue  # it says the same twice
        both = (flag, option.secondary_opts[0]) if option.is_flag else (flag, "1", flag, "2")
        message = f"{flag} is given 2 times, and takes one value"
        assert (refusal(name, *both) == message) is not is_list, f"{name} {flag}"


@pytest.mark.parametrize("option", ["--address", "--service", "--timeout-seconds"])
def test_a_probe_reads_its_options_as_strictly(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does so without typer."""
    with pytest.raises(SystemExit) as ended:
        probe([option, "1", option, "2"])
    assert ended.value.code == 2
    assert f"{option} is given twice, and takes one value" in capsys.readouterr().err


def test_an_option_overrides_a_variable(tmp_path: Path) -> None:
    """Only two options of one name contradict each other."""
    one, other = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    for path, tokens in ((one, 1000), (other, 2000)):
        with operator_ledger(path) as opened:
            opened.spend(NOON, tokens=tokens)
    code, out, _ = sidecar("spend", "--ledger", one, SIDECAR_LEDGER=str(other))
    assert (code, "1,000" in out, "2,000" in out) == (0, True, False)
    code, out, err = sidecar("spend", "--ledger", one, "--ledger", other)
    assert (code, out, "--ledger is given 2 times" in err) == (2, "", True)


def test_help_is_shown_with_any_other_arguments(tmp_path: Path) -> None:
    """Wrong arguments beside --help are not an error."""
    code, out, _ = sidecar("spend", "--ledger", tmp_path, "--ledger", tmp_path, "--help")
    assert (code, "what was spent" in out) == (0, True)
