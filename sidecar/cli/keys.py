"""`sidecar keys …`: the API keys of an organization at Mistral."""

import typer

from sidecar.cli import rotating

app = typer.Typer(help="Create, audit and rotate API keys.", no_args_is_help=True)
app.command("create")(rotating.create)
app.command("rotate")(rotating.rotate)
app.command("rollback")(rotating.rollback)
app.command("abort")(rotating.abort)
app.command("status")(rotating.status)


@app.callback()
def _group() -> None:
    """Create, audit and rotate API keys."""
