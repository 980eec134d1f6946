"""Settings, each declared once: a dataclass field is a flag, a variable and a line of a file."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

KEY = "flag"


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag of a setting: its name, its help text, and how its value is parsed."""

    name: str
    """As in `--alert-webhook`; the variable is `SIDECAR_ALERT_WEBHOOK`."""
    help: str
    metavar: str | None = None
    min: float | None = None
    max: float | None = None
    panel: str | None = None
    """The group in `--help`; None is the `PANEL` of the dataclass."""
    parse: Callable[[str], Any] | None = None
    """Reads the text, where its type alone does not. Raises ValueError."""
    write: Callable[[Any], str] = str
    """Writes a default so that `parse` reads it."""

    @property
    def key(self) -> str:
        """The name in a settings file: `alert-webhook`."""
        return self.name.removeprefix("--")

    @property
    def parameter(self) -> str:
        """The name in Python: `alert_webhook`."""
        return self.key.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"SIDECAR_{self.parameter.upper()}"


def flagged(flag: Flag, default: Any = MISSING) -> Any:
    """Return a dataclass field with a flag; required without a default."""
    return field(default=default, metadata={KEY: flag})


def setting(name: str, text: str, metavar: str | None = None, *, default: Any, **more: Any) -> Any:
    """Return a dataclass field with a flag of its own."""
    return flagged(Flag(name, text, metavar, **more), default)
