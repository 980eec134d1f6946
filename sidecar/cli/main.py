"""The `sidecar` command. Exit codes: 0 good, 1 the thing checked is bad, 2 wrong usage."""

import typer

from sidecar.cli import (
    admin,
    budgets,
    check,
    diff,
    explain,
    fmt,
    init,
    keys,
    ledger,
    list_rules,
    run_tests,
    schema,
    serve,
    sign,
    spend,
)
from sidecar.cli.healthz import probe

app = typer.Typer(
    name="sidecar",
    help="May this call to Mistral go out, and what is left to spend?",
    epilog="Flags that show one can be set by an environment variable, as in SIDECAR_POLICIES.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks print values
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("init")(init.init)
app.command("schema")(schema.schema)
app.command("check")(check.check)
app.command("fmt")(fmt.fmt)
app.command("list")(list_rules.list_rules)
app.command("test")(run_tests.run_tests)
app.command("sign")(sign.sign)
app.command("verify")(sign.verify)
app.command("diff")(diff.diff)
app.command("explain")(explain.explain)
app.command("budgets")(budgets.budgets)
app.command("status")(admin.status)
app.command("reload")(admin.reload)
app.command("spend", epilog=spend.EPILOG)(spend.spend)
app.add_typer(ledger.app, name="ledger")
app.add_typer(keys.app, name="keys")


@app.command(
    "healthz",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def healthz(context: typer.Context) -> None:
    """Exit 0 if a running sidecar is SERVING, else 1; for probes."""
    raise typer.Exit(probe(context.args))
