"""`sidecar serve`: runs the sidecar."""

import asyncio
import logging

import typer

from sidecar.cli.options import fail, fail_all, zone_info
from sidecar.cli.policies import in_directory
from sidecar.cli.settings import ConfigOption, takes_settings
from sidecar.cli.variables import misspelt
from sidecar.ledger.protocol import LedgerRefusedError
from sidecar.policy.files.problems import PolicyError
from sidecar.runtime import logs
from sidecar.runtime import serve as app
from sidecar.runtime.settings import Settings
from sidecar.server.addresses import ListenError


@takes_settings
def serve(
    context: typer.Context,
    settings: Settings,
    config: ConfigOption = None,  # noqa: ARG001 - its values are in the settings
) -> None:
    """Run the sidecar: answer apps until SIGTERM.

    Example: sidecar serve --policies policies --ledger ledger.sqlite
    --listen 127.0.0.1:50051 --listen unix:/run/sidecar/sidecar.sock

    Every flag can also be an environment variable or a line of a settings file (--config).
    """
    zone_info(settings.time_zone)
    app.end_at_signals()
    try:
        with logs.to_standard_error(settings.log_format) as log:
            for problem in misspelt(context):
                logging.getLogger(__name__).warning(problem)
            asyncio.run(app.serve(settings, log))
    except PolicyError as error:
        problems = "\n".join(
            str(in_directory(settings.policies, problem)) for problem in error.problems
        )
        raise fail_all(f"the policies in {settings.policies} cannot be used:\n{problems}") from None
    except LedgerRefusedError as error:
        raise fail(error) from None
    except ListenError as error:
        raise fail(f"--listen {error}", 2) from None
    except ValueError as error:
        raise fail(error, 2) from None
