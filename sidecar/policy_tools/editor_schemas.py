"""JSON Schemas of data files and fixtures, in their written form, for editors.

They come from the types of data files and fixtures. They accept every valid file; what they
cannot express, such as a number of decimals, is left to `sidecar check`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sidecar.policy.files.data import DataFile
from sidecar.policy_tools.testing.fixtures import FixtureFile

JsonSchema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest dialect that every editor's language server supports."""

FILES = {"data": ".data.schema.json", "fixtures": ".fixtures.schema.json"}
"""Their file names in a policy directory, where names with a leading dot are ignored."""

_TABLES = ("each",)
"""The tables that placeholders are filled in from; these have none themselves."""

_PLACEHOLDER = r"\$\{\w+\}"
_WHOLE = {"type": "string", "pattern": f"^{_PLACEHOLDER}$"}
_ANY_TEXT = {"type": "string"}
_ABOUT = ("title", "description", "default")
_WITHIN = {"type": "string", "pattern": _PLACEHOLDER}


class _Written(GenerateJsonSchema):
    """Schemas of what people write."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out defaults of None: what is left out is not written as null."""
        written = super().default_schema(schema)
        return {key: item for key, item in written.items() if (key, item) != ("default", None)}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Refuse names that are none: a pattern alone lets others through unseen."""
        written = super().dict_schema(schema)
        return written | ({"additionalProperties": False} if "patternProperties" in written else {})


def data_schema() -> JsonSchema:
    """Return the JSON Schema of data files (*.yaml)."""
    return _schema(DataFile)


def fixture_schema() -> JsonSchema:
    """Return the JSON Schema of fixtures (*_test.yaml), in which placeholders may be anywhere."""
    schema = _schema(FixtureFile)
    schema["$defs"] = {name: _inside(entry) for name, entry in schema["$defs"].items()}
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
    """Return a schema as it is in a file."""
    return json.dumps(schema, indent=1) + "\n"


def _schema(model: type[BaseModel]) -> JsonSchema:
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_Written)}


def _inside(schema: JsonSchema) -> JsonSchema:
    """Allow placeholders for what is within a value, but not for the value itself."""
    filled = dict(schema)
    for key in ("properties", "patternProperties"):
        if key in schema:
            filled[key] = {
                name: part if name in _TABLES else _or_placeholder(part)
                for name, part in schema[key].items()
            }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            filled[key] = _or_placeholder(schema[key])
    if "anyOf" in schema:
        filled["anyOf"] = [_inside(part) for part in schema["anyOf"]]
    return filled


def _or_placeholder(schema: JsonSchema) -> JsonSchema:
    """Allow a placeholder for a value; in a text, or in the digits of a count, as a part of it."""
    filled = _inside(schema)
    kinds = filled.pop("anyOf", None) or [
        {key: item for key, item in filled.items() if key not in _ABOUT}
    ]
    within = any(kind.get("type") in ("string", "integer") for kind in kinds)
    if _ANY_TEXT not in kinds:
        kinds = [*kinds, _WITHIN if within else _WHOLE]
    return {key: schema[key] for key in _ABOUT if key in schema} | {"anyOf": kinds}
