"""The reader of Mistral's requests: what a body says about the size of its call.

The clients and the sidecar's adapters read requests with it, so that all hold the same.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mistral_spend.errors import Malformed
from mistral_spend.request_shapes import SHAPES, Findings
from mistral_spend.v1 import authorization_pb2 as pb

MAX_COUNT = 1_000_000_000
MAX_CHOICES = 128
"""The contract's bounds on a count and on `choices`."""

PROMPT_BYTES = {"safe_prompt": 512, "prompt_mode": 4096}
"""Options by which Mistral adds a prompt of its own, and more bytes than that is known to have."""

ANNOTATIONS = ("document_annotation_format", "bbox_annotation_format")
"""Options of OCR by which pages are annotated, which has a price of its own."""

_PAGE_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequestSize:
    """The size of a call, as far as its body says it; a count is 0 where it does not."""

    input_bytes: int
    """The UTF-8 bytes of the JSON without attachments, and of Mistral's own prompts."""
    attachments: int
    """Images, audio and documents in messages."""
    tools: tuple[str, ...]
    """Where tools are that run at Mistral."""
    unknown: tuple[str, ...]
    """Where members or types are that are not known here."""
    max_output_tokens: int
    choices: int
    service_tier: str
    pages: int
    is_annotated: bool
    characters: int


def read_request(endpoint: int, body: Mapping[str, Any]) -> RequestSize:
    """Read a body that is JSON. Raises Malformed, which names the member."""
    found = Findings()
    shape = SHAPES.get(endpoint)
    if shape is not None:
        shape(body, "", found)
    if found.malformed:
        raise Malformed(*found.malformed[0])
    prompts = sum(size for option, size in PROMPT_BYTES.items() if _is_on(body, option))
    return RequestSize(
        input_bytes=_bytes(body) - sum(map(_bytes, found.attachments)) + prompts,
        attachments=len(found.attachments),
        tools=tuple(found.tools),
        unknown=tuple(found.unknown),
        max_output_tokens=_count(body, "max_tokens", MAX_COUNT),
        choices=_count(body, "n", MAX_CHOICES),
        service_tier=_text(body, "service_tier"),
        pages=_pages(body.get("pages")) if endpoint == pb.ENDPOINT_OCR else 0,
        is_annotated=any(body.get(name) is not None for name in ANNOTATIONS),
        characters=len(_text(body, "input")) if endpoint == pb.ENDPOINT_SPEECH else 0,
    )


def _bytes(value: Any) -> int:
    """Return the size as JSON with spaces, which is how a model may get it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise Malformed("the body", "is nested too deeply") from None
    # An unpaired surrogate is not UTF-8; Mistral may refuse it, and here it is only counted.
    return len(text.encode("utf-8", "surrogatepass"))


def _is_on(body: Mapping[str, Any], option: str) -> bool:
    value = body.get(option)
    if option == "safe_prompt" and not isinstance(value, bool | None):
        raise Malformed(option, "is not a boolean")
    return bool(value)


def _count(body: Mapping[str, Any], name: str, most: int) -> int:
    """Return a count of at least 1; 0 if it is missing."""
    value = body.get(name)
    if value is None:
        return 0
    if type(value) is not int:  # a bool is an int in Python
        raise Malformed(name, "is not a whole number")
    if not 1 <= value <= most:
        raise Malformed(name, f"is not between 1 and {most}")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str | None):
        raise Malformed(name, "is not a string")
    return value or ""


def _pages(pages: Any) -> int:
    """Return the number of pages in a list, or in ranges such as "0,2-4"; 0 means all."""
    if pages is None:
        return 0
    if isinstance(pages, str):
        count = sum(map(_pages_of_range, pages.split(",")))
    elif isinstance(pages, list) and all(type(it) is int and it >= 0 for it in pages):
        count = len(pages)
    else:
        raise Malformed("pages", "is not a list of page numbers")
    if count > MAX_COUNT:
        raise Malformed("pages", f"has more than {MAX_COUNT} pages")
    return count


def _pages_of_range(text: str) -> int:
    found = _PAGE_RANGE.fullmatch(text.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise Malformed("pages", "is not a list of page numbers")
    return last - first + 1
