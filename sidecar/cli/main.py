"""The `sidecar` command. Exit codes: 0 good, 1 a check failed, 2 wrong usage."""

from typing import Annotated

import typer

from sidecar.cli.lazy_commands import loading
from sidecar.cli.terminal import say
from sidecar.cli.version import version_line

COMMANDS = {
    "serve": "serve.serve",
    "init": "init.init",
    "schema": "schema.schema",
    "check": "check.check",
    "fmt": "fmt.fmt",
    "list": "list_rules.list_rules",
    "test": "run_tests.run_tests",
    "sign": "sign.sign",
    "verify": "sign.verify",
    "diff": "diff.diff",
    "explain": "explain.explain",
    "budgets": "budgets.budgets",
    "status": "admin.status",
    "reload": "admin.reload",
    "spend": "spend.spend",
}
OF_LEDGER = {
    "export": "export.export",
    "adjust": "adjust.adjust",
    "set-time": "set_time.set_time",
    "holds": "holds.holds",
    "release": "holds.release",
    "verify": "ledger.verify",
    "backup": "ledger.backup",
    "restore": "ledger.restore",
    "prune": "ledger.prune",
    "compact": "ledger.compact",
    "alerts": "ledger.alerts",
}
OF_KEYS = {
    "list": "key_list.list_keys",
    "show": "key_list.show",
    "audit": "key_audit.audit",
    "fingerprint": "key_fingerprint.fingerprint",
    "create": "key_rotation.create",
    "rotate": "key_rotation.rotate",
    "rollback": "key_rotation.rollback",
    "abort": "key_rotation.abort",
    "status": "rotation_status.status",
}
OF_FLEET = {
    "init": "fleet.init",
    "status": "fleet_status.status",
    "adjust": "fleet.adjust",
    "forget": "fleet_forget.forget",
    "leave": "fleet.leave",
    "rejoin": "fleet.rejoin",
    "prune": "fleet_prune.prune",
}

app = typer.Typer(
    name="sidecar",
    cls=loading(COMMANDS),
    help="May this call to Mistral go out, and what is left to spend?",
    epilog="A flag with an env var in its help can be set by that environment variable, too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print values
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, commands, about in (
    ("ledger", OF_LEDGER, "Verify, correct, export and back up a ledger."),
    ("keys", OF_KEYS, "Create, audit and rotate API keys."),
    ("fleet", OF_FLEET, "Set up and repair the budgets that many sidecars share."),
):
    group = typer.Typer(cls=loading(commands), help=about, no_args_is_help=True)
    app.add_typer(group, name=name)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        say(version_line())
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and the commit it was built from, and exit.",
        ),
    ] = False,
) -> None:
    """Options that come before a command."""


@app.command(
    "healthz",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def healthz(context: typer.Context) -> None:
    """Exit 0 if a running sidecar is SERVING, else 1; for probes."""
    from sidecar.cli.healthz import probe  # noqa: PLC0415 - loads gRPC

    raise typer.Exit(probe(context.args))
