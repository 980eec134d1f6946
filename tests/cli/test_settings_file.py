"""Settings of `sidecar serve` from a file, a variable and a flag."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from support.commands import sidecar
from support.policies import limit, minimal
from support.sidecar_process import RunningSidecar, chat, tester

from sidecar.cli.main import app
from sidecar.domain.flags import KEY, Flag
from sidecar.runtime.settings import Settings

SERVE: Any = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]


def flags(kind: Any) -> list[Flag]:
    """Return the flags of a dataclass, and of those inside it."""
    found: list[Flag] = []
    for one in fields(kind):
        inner = get_type_hints(kind)[one.name]
        if KEY in one.metadata:
            found.append(one.metadata[KEY])
        elif is_dataclass(inner):
            found += flags(inner)
    return found


def test_every_setting_is_a_flag_and_a_variable() -> None:
    """Each once, and `serve` has no other options than --config."""
    declared = {flag.name: flag.variable for flag in flags(Settings)}
    assert len(declared) == len(flags(Settings)) == 79
    options = {one.opts[0]: one.envvar for one in SERVE.params}
    assert options == declared | {"--config": "SIDECAR_CONFIG"}
    assert declared["--alert-webhook-secret-file"] == "SIDECAR_ALERT_WEBHOOK_SECRET_FILE"


@pytest.mark.parametrize("config_by", ["flag", "variable"])
def test_a_process_takes_its_settings_from_a_file(config_by: str, tmp_path: Path) -> None:
    """Lists, octal permissions, flags and paths, in the words of the command line."""
    policies = minimal(tmp_path / "policies", daily=limit("5"))
    socket = tmp_path / "authzen.sock"
    config = tmp_path / "sidecar.yaml"
    config.write_text(
        "share: 1/2\n"
        "socket-mode: 0600\n"
        "reflection: true\n"
        f"listen:\n  - unix:{tmp_path}/a.sock\n  - unix:{tmp_path}/b.sock\n"
        f"authzen-listen: unix:{socket}\n"
        "log-format: json\n"
    )
    by_flag = config_by == "flag"
    running = RunningSidecar(
        policies,
        tmp_path / "ledger.sqlite",
        ("--config", str(config)) if by_flag else (),
        env={} if by_flag else {"SIDECAR_CONFIG": str(config)},
    ).start()
    try:  # `start` gives --listen, a flag, which comes before the file
        assert running.addresses[0].startswith("127.0.0.1:")
        assert socket.stat().st_mode & 0o777 == 0o600
        share = "ceilings are divided between sidecars: this one has 1/2"
        assert f'"message": "{share}"' in running.log
        assert running.stub.Authorize(chat(tester())).effect
    finally:
        assert running.stop() == 0


def value(name: str, *args: str, **env: str) -> Any:
    """Return what `serve` takes for a setting."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, text in env.items():
            patch.setenv(variable, text)
        given = ["--policies", "p", "--ledger", "l", *args]
        return SERVE.make_context("serve", given).params[name]


def test_a_flag_comes_before_the_variable_and_that_before_the_file(tmp_path: Path) -> None:
    """The default comes last. A list is replaced as a whole."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("hold-ttl: 3\npin: [role=a, workspace=b]\nrequire-digest: aa\n")
    config = ("--config", str(file))
    assert value("hold_ttl") == 600
    assert value("hold_ttl", *config) == 3
    assert value("hold_ttl", *config, SIDECAR_HOLD_TTL="2") == 2
    assert value("hold_ttl", *config, "--hold-ttl", "1", SIDECAR_HOLD_TTL="2") == 1
    assert value("pin", *config) == ["role=a", "workspace=b"]
    assert value("pin", *config, SIDECAR_PIN="role=c id=d") == ["role=c", "id=d"]
    assert value("pin", *config, "--pin", "id=e") == ["id=e"]
    assert value("require_digest", *config) == ["aa"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policis: x", "s.yaml:1:1: no such setting: policis"),
        ("policis: x", "did you mean 'policies'?"),
        ("listen: {a: b}", "listen has to be a text or a number"),
        ("reflection: 1", "reflection has to be true or false"),
        ("share:", "share has to be a text or a number"),
        ("- share", "has to be a mapping"),
        ("share: 1/2\nshare: 1/3", "s.yaml:2:1: 'share' is there twice"),
        ("share: [", "s.yaml:2:1:"),
        ("config: other.yaml", "no such setting: config"),
        ("hold-ttl: 0", "Invalid value for '--hold-ttl'"),
        ("share: 3/2", "Invalid value for '--share'"),
        (None, "cannot be read: No such file or directory"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused(text: str | None, expected: str, tmp_path: Path) -> None:
    """With exit 2, before anything is opened."""
    file = tmp_path / "s.yaml"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    ledger = tmp_path / "ledger.sqlite"
    code, out, err = sidecar("serve", "--config", file, "--policies", tmp_path, "--ledger", ledger)
    assert (code, out, ledger.exists()) == (2, "", False)
    assert expected in err
