"""`sidecar keys …`: the API keys of an organization at Mistral."""

import typer

from sidecar.cli import key_audit, key_fingerprint, key_list, rotating, rotation_status

app = typer.Typer(help="Create, audit and rotate API keys.", no_args_is_help=True)
app.command("list")(key_list.list_keys)
app.command("show")(key_list.show)
app.command("audit")(key_audit.audit)
app.command("fingerprint")(key_fingerprint.fingerprint)
app.command("create")(rotating.create)
app.command("rotate")(rotating.rotate)
app.command("rollback")(rotating.rollback)
app.command("abort")(rotating.abort)
app.command("status")(rotation_status.status)


@app.callback()
def _group() -> None:
    """Create, audit and rotate API keys."""
