"""Data files, read and merged: roles, workspaces, models with dated prices, and keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sidecar.policy.files.entries import (
    DataFile,
    KeyEntry,
    ModelEntry,
    MultipliersEntry,
    RoleEntry,
    WorkspaceEntry,
)
from sidecar.policy.files.problems import Problem, did_you_mean
from sidecar.policy.files.yaml_file import Loc, YamlFile


@dataclass(slots=True)
class Data:
    """All data files of a policy directory together."""

    models: dict[str, ModelEntry] = field(default_factory=dict)
    roles: dict[str, RoleEntry] = field(default_factory=dict)
    workspaces: dict[str, WorkspaceEntry] = field(default_factory=dict)
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    multipliers: MultipliersEntry = field(default_factory=MultipliersEntry)
    names: dict[str, str] = field(default_factory=dict)
    """Model ids by id and alias."""


def read(files: Mapping[str, str]) -> tuple[Data, list[Problem]]:
    """Read all data files; return the data and all problems."""
    data, problems = Data(), []
    multipliers_in = ""
    documents: list[tuple[YamlFile, DataFile]] = []
    for file, text in sorted(files.items()):
        document = YamlFile(file, text)
        content, wrong = _validate(document)
        problems += wrong
        if content is None:
            continue
        for section in ("models", "roles", "workspaces", "keys", "lists"):
            problems += _merge(document, section, getattr(data, section), getattr(content, section))
        if content.multipliers is not None:
            if multipliers_in:
                problems.append(
                    document.problem(("multipliers",), f"is already in {multipliers_in}")
                )
            data.multipliers, multipliers_in = content.multipliers, file
        problems += _name_models(document, data, content)
        problems += _check_prices(document, content)
        problems += _check_keys(document, content)
        documents.append((document, content))
    for document, content in documents:
        problems += _check_replacements(document, content, data)
    return data, problems


def _validate(document: YamlFile) -> tuple[DataFile | None, list[Problem]]:
    if document.problems:
        return None, document.problems
    try:
        return DataFile.model_validate({} if document.value is None else document.value), []
    except ValidationError as error:
        return None, [describe(document, details) for details in error.errors()]


def describe(
    document: YamlFile, details: Any, inside: Loc = (), schema: type[BaseModel] = DataFile
) -> Problem:
    """Convert a pydantic error to a problem at its place."""
    loc = tuple(part for part in details["loc"] if part != "[key]")
    key = str(loc[-1]) if loc else ""
    place = (*inside, *loc)
    if details["type"] == "extra_forbidden":
        return document.problem(
            place, f"unknown key '{key}'", did_you_mean(key, _keys(schema, loc)), at_key=True
        )
    if details["type"] == "missing":
        return document.problem(place, f"'{key}' is missing")
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["type"] == "literal_error":
        expected = details["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        hint = did_you_mean(str(details["input"]), expected.split(", "))
        return document.problem(place, f"'{details['input']}' is not a valid {key}", hint)
    about = f"'{key}': " if isinstance(key, str) and not key.isdecimal() and key else ""
    return document.problem(place, f"{about}{message[0].lower()}{message[1:]}")


def _keys(schema: type[BaseModel], loc: Loc) -> set[str]:
    """Return the keys that are valid where an unknown one was found."""
    found: type[BaseModel] | None = schema
    for part in loc[:-1]:
        field = found.model_fields.get(str(part)) if found is not None else None
        if field is not None:
            found = _model_in(field.annotation)
    fields = {} if found is None else found.model_fields
    return {field.alias or name for name, field in fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type such as a mapping or tuple of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _merge(
    document: YamlFile, section: str, into: dict[str, Any], more: Mapping[str, Any]
) -> list[Problem]:
    duplicates = [
        document.problem((section, name), f"'{name}' is already in another file")
        for name in more
        if name in into
    ]
    into.update(more)
    return duplicates


def _name_models(document: YamlFile, data: Data, content: DataFile) -> list[Problem]:
    """Map each id and alias to its model; report those of two models."""
    problems = []
    for model_id, entry in content.models.items():
        for name in (model_id, *entry.aliases):
            owner = data.names.setdefault(name, model_id)
            if owner != model_id:
                problems.append(
                    document.problem(("models", model_id), f"'{name}' is already a name of {owner}")
                )
    return problems


def _check_prices(document: YamlFile, content: DataFile) -> list[Problem]:
    problems = []
    for model_id, entry in content.models.items():
        starts = [price.effective_from for price in entry.prices]
        if len(set(starts)) != len(starts):
            problems.append(
                document.problem(
                    ("models", model_id, "prices"), "two prices have the same effective_from"
                )
            )
        for index, price in enumerate(entry.prices):
            cached, fresh = (
                price.cached_input_usd_per_million_tokens,
                price.input_usd_per_million_tokens,
            )
            if cached is not None and (fresh is None or cached > fresh):
                key = "cached_input_usd_per_million_tokens"
                place = ("models", model_id, "prices", index, key)
                message = f"'{key}': is more than input_usd_per_million_tokens, which holds assume"
                problems.append(document.problem(place, message))
    return problems


def _check_replacements(document: YamlFile, content: DataFile, data: Data) -> list[Problem]:
    """Report replacements that are no model, or the retired model itself."""
    problems = []
    for model_id, entry in content.models.items():
        place, name = ("models", model_id, "replaced_by"), entry.replaced_by
        if name is not None and name not in data.names:
            hint = did_you_mean(name, data.names)
            problems.append(document.problem(place, f"no model is named '{name}'", hint))
        elif name is not None and data.names[name] == model_id:
            problems.append(document.problem(place, f"'{name}' is this model itself"))
    return problems


def _check_keys(document: YamlFile, content: DataFile) -> list[Problem]:
    return [
        document.problem(("keys", key_id, "expires"), "is not after `created`")
        for key_id, key in content.keys.items()
        if key.expires is not None and key.created is not None and key.expires <= key.created
    ]
