"""The loader and the JSON Schema accept the same values of every field of the data files."""

import copy
import json
import math
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support.language_server import FOLDER, installed

from sidecar.policy.files import data
from sidecar.policy.files.entries import DataFile
from sidecar.policy_tools import editor_schemas

PRICE = {"effective_from": "2020-01-01", "input_usd_per_million_tokens": 10_000}
ENTRIES: dict[str, Any] = {
    "models": {"m": {"family": "f", "prices": [PRICE]}},
    "multipliers": {},
    "roles": {"r": {"allowed_models": [], "max_tokens_per_request": 1, "daily_token_budget": 1}},
    "workspaces": {
        "w": {
            "allowed_models": [],
            "requests_per_minute": 1,
            "monthly_budget_usd": 1,
            "services": {"s": {"allowed_models": []}},
        }
    },
    "keys": {"k": {"workspace": "w"}},
}
"""An entry of each kind, with what it has to have."""


def fields(model: type[BaseModel], value: dict[str, Any], path: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the path of each field of a model, and of the models inside."""
    for name, field in model.model_fields.items():
        inside, place = _model_of(field.annotation), (*path, name)
        yield place
        found = value.get(name)
        if inside is not None and found is not None:
            keyed = found if name != "multipliers" else {None: found}
            some = keyed.items() if isinstance(keyed, dict) else enumerate(keyed)
            for key, one in some:
                yield from fields(inside, one, place if key is None else (*place, key))


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := _model_of(part))), None)


FIELDS = list(fields(DataFile, ENTRIES, ()))

BOUNDS = (0, 1, 10, 100, 10_000, 10**9, 10**15)
NUMBERS = (
    st.sampled_from(
        [sign * (bound + step) for bound in BOUNDS for step in (-1, 0, 1) for sign in (1, -1)]
    )
    | st.sampled_from([bound + step for bound in BOUNDS for step in (-0.001, 0.001, 0.5)])
    | st.integers(-(10**17), 10**17)
    | st.integers(-20_000_000, 20_000_000).map(lambda thousandths: thousandths / 1000)
    | st.sampled_from([math.inf, -math.inf])
)
TEXTS = (
    st.sampled_from(["unlimited", "*", "active", "revoked", "CHAT", "OCR", "web_search", "a#1", ""])
    | st.sampled_from(
        ["a" * 64, "a" * 65, "a" * 256, "a" * 257, "a" * 1024, "a" * 1025, "\u65e5" * 256]
    )
    | st.sampled_from(["tab\there", "line\nend", "nul\0", "del\x7f", "c1\x9f", "a b", "caf\u00e9"])
    | st.text(max_size=20)
)
SCALARS = NUMBERS | TEXTS | st.booleans() | st.none() | st.dates(date(1900, 1, 1), date(2300, 1, 1))
VALUES = (
    SCALARS
    | st.lists(SCALARS | TEXTS, max_size=3)
    | st.dictionaries(TEXTS, NUMBERS | SCALARS, max_size=2)
)


def as_yaml(value: Any) -> str:
    """Write a value as authors do, on one line."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(one)}" for key, one in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return re.sub(
            "[^\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd]", lambda c: f"\\U{ord(c[0]):08X}", quoted
        )
    if isinstance(value, float):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value) or f"{value:.3f}"
    return value.isoformat() if isinstance(value, date) else json.dumps(value)


def as_json(value: Any) -> str:
    """Write a value as an editor reads it: a day is a text, and `.inf` a number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {as_json(one)}" for k, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    if isinstance(value, float):
        return {math.inf: "1e999", -math.inf: "-1e999"}.get(value) or f"{value:.3f}"
    return json.dumps(value.isoformat() if isinstance(value, date) else value)


class Validator:
    """The validator of the YAML language server, by the schema of data files."""

    def __init__(self, schema: Path) -> None:
        """Start it, where the server is installed."""
        installed()
        self.process = subprocess.Popen(  # noqa: S603 - pinned by the lock file
            ["node", FOLDER / "validate.js", schema],  # noqa: S607
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER,
        )  # fmt: skip

    def errors(self, document: str) -> list[str]:
        """Return what is wrong with a document."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"[0, {document}]\n")
        self.process.stdin.flush()
        found: list[str] = json.loads(self.process.stdout.readline())
        return found


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    """One validator for all values."""
    schema = tmp_path_factory.mktemp("schema") / "data.json"
    schema.write_text(json.dumps(editor_schemas.data_schema()))
    one = Validator(schema)
    yield one
    one.process.communicate(timeout=10)  # it ends with its input


def with_value(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the entries with this value in this field."""
    changed = copy.deepcopy(ENTRIES)
    inside: Any = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return changed


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
@given(value=VALUES)
def test_the_loader_and_the_schema_accept_the_same_values(
    path: tuple[Any, ...], value: Any, validator: Validator
) -> None:
    """An editor marks a value exactly if `sidecar check` refuses it."""
    document = with_value(path, value)
    _, found = data.read({"x.yaml": as_yaml(document)})
    # A schema knows the form of a name, not whether an entry has it.
    problems = [each for each in found if not each.message.startswith("no model is named")]
    errors = validator.errors(as_json(document))
    assert bool(problems) == bool(errors), (as_yaml(value), list(map(str, problems)), errors)
