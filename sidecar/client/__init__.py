"""The earlier name of `mistral_spend`, kept for one minor version."""

import warnings

from mistral_spend import *  # noqa: F403
from mistral_spend import SidecarClient

Budget = SidecarClient

warnings.warn(
    "sidecar.client is now mistral_spend (pip install mistral-spend-client), and its Budget"
    " is SidecarClient",
    DeprecationWarning,
    stacklevel=2,
)
