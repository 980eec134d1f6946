"""Stand-ins for Mistral, to try things by hand: its models, and its keys."""

import contextlib
import sys
import threading

from support.mistral_admin import ADMIN_KEY, mistral_admin
from support.mistral_standin import API_KEY, mistral_standin


def main() -> None:
    """Serve until interrupted, and say what to put into the environment."""
    with mistral_standin() as models, mistral_admin() as keys:
        sys.stdout.write(
            f"export MISTRAL_URL={models} MISTRAL_API_KEY={API_KEY}\n"
            f"export SIDECAR_MISTRAL_URL={keys.url}\n"
            f"echo {ADMIN_KEY} > admin.key\n"
        )
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
