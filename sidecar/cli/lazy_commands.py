"""Commands that are loaded on first use: loading all takes most of a second."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from sidecar.cli.given_once import OnceCommand


class _Commands(Mapping[str, Any]):
    """Commands by name. Looking one up loads it."""

    def __init__(self, places: Mapping[str, str], others: Mapping[str, Any]) -> None:
        self._places = places
        self._loaded = dict(others)
        self._names = (*places, *others)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._places[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def loading(places: Mapping[str, str]) -> type[TyperGroup]:
    """Return a group of commands, each at its place: `module.function` in this folder.

    The module's EPILOG, if any, ends the command's help.
    """

    class Group(TyperGroup):
        def __init__(self, *, commands: Mapping[str, Any], **rest: Any) -> None:
            super().__init__(**rest)
            self.commands = _Commands(places, commands)  # type: ignore[assignment] # is only read

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's
            return list(self.commands)

    return Group


def _load(name: str, place: str) -> Any:
    module_name, function = place.split(".")
    module = import_module(f"sidecar.cli.{module_name}")
    alone = typer.Typer(add_completion=False)
    epilog = getattr(module, "EPILOG", None)
    alone.command(name, cls=OnceCommand, epilog=epilog)(getattr(module, function))
    return typer.main.get_command(alone)
