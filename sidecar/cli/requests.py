"""Requests in JSON files; errors never repeat a value of the request."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.cli.options import fail
from sidecar.contract import validation
from sidecar.domain.texts import printable
from sidecar.policy.files.problems import did_you_mean
from sidecar.policy.policy_set import PolicySet

_FIELD = re.compile(r"Failed to parse (\w+) field: ")
_UNKNOWN = re.compile(r'has no field named "(.*?)" at')
_PLACE = re.compile(r"line \d+ column \d+")


def read_request(path: Path, policy: PolicySet) -> pb.AuthorizeRequest:
    """Read an AuthorizeRequest; - is standard input. Exit 2 if it is not valid."""
    text = ""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        request = json_format.Parse(text, pb.AuthorizeRequest())
        validation.check_authorize(request, policy.catalogue.endpoint(request.model))
    except OSError as error:
        raise fail(f"--request {path}: {error.strerror}", 2) from None
    except UnicodeDecodeError as error:
        raise fail(f"--request {path}: is not UTF-8 at byte {error.start}", 2) from None
    except json_format.ParseError as error:
        raise fail(f"--request {path}: {_without_values(str(error), text)}", 2) from None
    except validation.InvalidFieldError as error:
        raise fail(f"--request {path}: {error}", 2) from None
    return request


def _without_values(message: str, text: str) -> str:
    """Describe protobuf's error. Its own text repeats the value, which may be confidential."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = _PLACE.search(str(error))
        return "Failed to load JSON" + (f" at {place[0]}" if place else "")
    path: list[str] = []
    while (found := _FIELD.match(message)) and isinstance(value, dict) and found[1] in value:
        path.append(found[1])
        message, value = message[found.end() :], value[found[1]]
    where = ".".join(path) or "the request"
    unknown = _UNKNOWN.search(message)
    if unknown and isinstance(value, dict) and unknown[1] in value:
        hint = did_you_mean(unknown[1], _fields(path))
        return f"{where} has no field '{printable(unknown[1])}'" + (f"; {hint}" if hint else "")
    return f"{where} has a wrong value"


def _fields(path: list[str]) -> list[str]:
    """Return the names of the fields of a message within a request."""
    message: Any = pb.AuthorizeRequest.DESCRIPTOR
    for name in path:
        fields = {field.json_name: field for field in message.fields} | message.fields_by_name
        message = fields[name].message_type
    return [field.json_name for field in message.fields]
