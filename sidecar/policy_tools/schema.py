"""The schema of the policy input: every variable and field that a rule can read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from sidecar.policy.cel import variables

# Written by `make proto` beside the generated code: it has the comments.
_DESCRIPTORS = Path(__file__).parents[1] / "v1" / "descriptors.binpb"
_MESSAGES, _FIELDS = 4, 2  # the numbers of these in FileDescriptorProto and DescriptorProto

_SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_BOOL: "bool",
}
_WELL_KNOWN = {".google.protobuf.Timestamp": "timestamp"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that a rule can read: its path, CEL type and description."""

    path: str
    type: str
    comment: str


def rule_variables() -> list[Variable]:
    """Return every field of every variable, with its comment from the protos."""
    files = FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file
    found: dict[str, tuple[FileDescriptorProto, int]] = {
        message.name: (file, index)
        for file in files
        if file.package == "sidecar.v1"
        for index, message in enumerate(file.message_type)
    }
    rows: list[Variable] = []
    for name, descriptor in variables.MESSAGES.items():
        rows += _fields(name, *found[descriptor.name])
    rows += _fields(f"{variables.SPEND}[rule]", *found["Spend"])
    listed = "The texts of a list in the data files."
    rows.append(Variable(f"{variables.LISTS}[name]", "list(string)", listed))
    rows.append(Variable(variables.NOW, "timestamp", "The moment of the decision."))
    day = "The date of now in the time zone of the budgets, as in 2026-12-25."
    rows.append(Variable(variables.TODAY, "string", day))
    rows.append(Variable(variables.UNLIMITED, "int or double", "A limit without a ceiling."))
    return rows


def _fields(variable: str, file: FileDescriptorProto, index: int) -> Iterator[Variable]:
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }
    message = file.message_type[index]
    for number, field in enumerate(message.field):
        comment = comments.get((_MESSAGES, index, _FIELDS, number), "")
        yield Variable(f"{variable}.{field.name}", _type(message, field), comment)


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    nested = {f".sidecar.v1.{message.name}.{entry.name}": entry for entry in message.nested_type}
    entry = nested.get(field.type_name)
    if entry is not None and entry.options.map_entry:
        return f"map({_type(entry, entry.field[0])}, {_type(entry, entry.field[1])})"
    one = _SCALARS.get(field.type) or _WELL_KNOWN.get(field.type_name)
    one = one or field.type_name.rpartition(".")[2]
    return f"list({one})" if field.label == FieldDescriptorProto.LABEL_REPEATED else one
