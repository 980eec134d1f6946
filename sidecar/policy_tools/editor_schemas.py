"""JSON Schemas of data files and fixtures as people write them, for editors.

They are generated from the types of data files and fixtures, and accept every valid file. What a
schema cannot express, a number of decimals and days such as 30 February, is left to
`sidecar check`; tests/editor compares all else.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sidecar.policy.files.entries import DataFile
from sidecar.policy_tools.testing.fixture_file import FixtureFile

JsonSchema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest dialect that every editor's language server supports."""

FILES = {"data": ".data.schema.json", "fixtures": ".fixtures.schema.json"}
"""Their file names in a policy directory, where names with a leading dot are ignored."""

_PLACEHOLDER_TABLES = ("each",)
"""Fields with the values of placeholders; they contain no placeholders themselves."""

_PLACEHOLDER = r"\$\{\w+\}"
_ONLY_PLACEHOLDER = {"type": "string", "pattern": f"^{_PLACEHOLDER}$"}
_ANY_TEXT = {"type": "string"}
_ANNOTATIONS = ("title", "description", "default")
_WITH_PLACEHOLDER = {"type": "string", "pattern": _PLACEHOLDER}


class _WrittenForm(GenerateJsonSchema):
    """Generates schemas of what people write, which is less than what pydantic accepts."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out defaults of None: people leave such a field out, and do not write null."""
        written = super().default_schema(schema)
        return {key: item for key, item in written.items() if (key, item) != ("default", None)}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Refuse names that do not match the pattern; JSON Schema would ignore them."""
        written = super().dict_schema(schema)
        return written | ({"additionalProperties": False} if "patternProperties" in written else {})


def data_schema() -> JsonSchema:
    """Return the JSON Schema of data files (*.yaml)."""
    return _schema(DataFile)


def fixture_schema() -> JsonSchema:
    """Return the JSON Schema of fixtures (*_test.yaml), with placeholders allowed anywhere."""
    schema = _schema(FixtureFile)
    schema["$defs"] = {
        name: _with_placeholders_inside(entry) for name, entry in schema["$defs"].items()
    }
    return schema


def write(directory: Path) -> list[Path]:
    """Write both schemas to a policy directory; return their paths."""
    written = []
    for subject, schema in (("data", data_schema()), ("fixtures", fixture_schema())):
        path = directory / FILES[subject]
        path.write_text(as_text(schema))
        written.append(path)
    return written


def as_text(schema: JsonSchema) -> str:
    """Return the text of a schema file."""
    return json.dumps(schema, indent=1) + "\n"


def _schema(model: type[BaseModel]) -> JsonSchema:
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_WrittenForm)}


def _with_placeholders_inside(schema: JsonSchema) -> JsonSchema:
    """Allow placeholders inside a value, but not in place of the whole value."""
    changed = dict(schema)
    for key in ("properties", "patternProperties"):
        if key in schema:
            changed[key] = {
                name: part if name in _PLACEHOLDER_TABLES else _or_placeholder(part)
                for name, part in schema[key].items()
            }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            changed[key] = _or_placeholder(schema[key])
    if "anyOf" in schema:
        changed["anyOf"] = [_with_placeholders_inside(part) for part in schema["anyOf"]]
    return changed


def _or_placeholder(schema: JsonSchema) -> JsonSchema:
    """Allow a placeholder in place of a value; in a text or a count also as a part of it."""
    changed = _with_placeholders_inside(schema)
    kinds = changed.pop("anyOf", None) or [
        {key: item for key, item in changed.items() if key not in _ANNOTATIONS}
    ]
    may_be_part = any(kind.get("type") in ("string", "integer") for kind in kinds)
    if _ANY_TEXT not in kinds:
        kinds = [*kinds, _WITH_PLACEHOLDER if may_be_part else _ONLY_PLACEHOLDER]
    return {key: schema[key] for key in _ANNOTATIONS if key in schema} | {"anyOf": kinds}
