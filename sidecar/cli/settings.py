"""Settings as options: each field with a Flag is a flag, a variable and a line of a file.

A flag comes before its variable, the variable before the file, the file before the default.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from sidecar.cli.options import fail, fail_all, option
from sidecar.domain.flags import KEY, Flag
from sidecar.policy.files.problems import Problem, did_you_mean


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting in the dataclasses among its parameters."""
    hints = get_type_hints(command, include_extras=True)
    kinds = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    own: list[str] = []
    for one in inspect.signature(command).parameters.values():
        if one.name in kinds:
            parameters += _parameters(kinds[one.name])
        else:
            own.append(one.name)
            parameters.append(one.replace(kind=one.KEYWORD_ONLY))

    @functools.wraps(command)
    def with_settings(**values: Any) -> None:
        made = {name: _build(kind, values) for name, kind in kinds.items()}
        command(**made, **{name: values[name] for name in own})

    # typer makes options of a signature, and of nothing else.
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_settings


def _parameters(kind: Any) -> Iterator[inspect.Parameter]:
    """Return a parameter for each setting of a dataclass, and of those inside it."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        flag: Flag | None = one.metadata.get(KEY)
        hint: Any = hints[one.name]
        default: Any = one.default
        if flag is None:
            if is_dataclass(hint):
                yield from _parameters(hint)
            continue
        more = ""
        if get_origin(hint) is Sequence:
            more = f" \\[default: {' '.join(default)}]" if default else ""
            hint, default = GenericAlias(list, get_args(hint)) | None, None
        elif flag.parse is not None:
            default = flag.write(default)
        info = option(flag, flag.panel or getattr(kind, "PANEL", None), more)
        yield inspect.Parameter(
            flag.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=Annotated[hint, info],
        )


def _build(kind: Any, values: dict[str, Any]) -> Any:
    """Build a dataclass, with the dataclasses inside it, from the values of options."""
    hints, arguments = get_type_hints(kind), {}
    for one in fields(kind):
        flag = one.metadata.get(KEY)
        if flag is None:
            if is_dataclass(hints[one.name]):
                arguments[one.name] = _build(hints[one.name], values)
        elif (value := values[flag.parameter]) not in (None, [], ()):
            arguments[one.name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def _read_file(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values in a settings file as the defaults of a command, or exit 2."""
    if path is None or context.resilient_parsing:
        return path
    from sidecar.policy.files.yaml_file import YamlFile  # noqa: PLC0415 - most have no file

    options: dict[str, Any] = {
        one.opts[0].removeprefix("--"): one
        for one in context.command.params
        if one.param_type_name == "option" and not one.is_eager
    }
    try:
        file = YamlFile(str(path), path.read_text("utf-8"))
    except OSError as error:
        raise fail(f"--config {path}: cannot be read: {error.strerror}", 2) from None
    except UnicodeDecodeError:
        raise fail(f"--config {path}: is not UTF-8", 2) from None
    problems, defaults = file.problems, {}
    if not isinstance(file.value, dict):
        problems.append(Problem(str(path), 0, 0, "has to be a mapping, as in `listen: ADDRESS`"))
    for name, value in file.value.items() if not problems else ():
        if name not in options:
            hint = did_you_mean(name, options)
            problems.append(file.problem((name,), f"no such setting: {name}", hint, at_key=True))
            continue
        one = options[name]
        try:
            defaults[one.name] = _as_typed(value, is_list=one.multiple, is_flag=one.is_flag)
        except ValueError as error:
            problems.append(file.problem((name,), f"{name} {error}"))
    if problems:
        raise fail_all("\n".join(["the settings file cannot be used:", *map(str, problems)]), 2)
    context.default_map = defaults
    return path


def _as_typed(value: Any, *, is_list: bool, is_flag: bool) -> Any:
    """Convert a YAML value to the value that the command line would give. Raises ValueError."""
    if is_flag:
        if not isinstance(value, bool):
            raise ValueError("has to be true or false")
        return value
    if is_list:
        return [
            _as_typed(item, is_list=False, is_flag=False)
            for item in (value if isinstance(value, list) else [value])
        ]
    if value is None or isinstance(value, bool | dict | list):
        raise ValueError("has to be a text or a number")
    return str(value)


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="SIDECAR_CONFIG",
        metavar="FILE",
        is_eager=True,
        callback=_read_file,
        help="A YAML file of settings, as in `listen: 127.0.0.1:50051`, each named as its flag"
        " without the dashes. Flags and variables come first.",
    ),
]
