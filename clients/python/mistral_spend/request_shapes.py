"""The shapes of Mistral's requests: the members of each endpoint's body, at every depth.

A text has at most as many tokens as bytes. So a body bounds a call only if all of it is known
to be text, or a setting. Whatever is not listed here might make Mistral read or run more.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mistral_spend.v1 import authorization_pb2 as pb


class Findings:
    """What the bytes of a body do not bound, and what is malformed in it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.attachments: list[Any] = []
        """Images, audio and documents in messages, each as its part of the body."""
        self.tools: list[str] = []
        """Where tools are that run at Mistral."""
        self.unknown: list[str] = []
        """Where members or types are that are not known here."""
        self.malformed: list[tuple[str, str]] = []
        """A known member that Mistral's API has in another form, and the problem."""


Shape = Callable[[Any, str, Findings], None]
"""Compares a value with what is known of it, and notes the differences. None is never passed:
a member that is null is left out."""


def _text(value: Any, path: str, found: Findings) -> None:
    if not isinstance(value, str):
        found.malformed.append((path, "is not a string"))


def _setting(value: Any, path: str, found: Findings) -> None:
    """Note what is not a text, a number or a boolean."""
    if isinstance(value, dict | list):
        found.malformed.append((path, "is not a plain value"))


def _any_json(_: Any, __: str, ___: Findings) -> None:
    """Note nothing: such as a JSON Schema, which the model gets as text."""


def _unbounded(_: Any, path: str, found: Findings) -> None:
    found.unknown.append(path)


def _tool_of_mistral(_: Any, path: str, found: Findings) -> None:
    found.tools.append(path)


def _prompt_mode(value: Any, path: str, found: Findings) -> None:
    """Note a mode other than the one whose prompt is known."""
    if value != "reasoning":
        found.unknown.append(path)


def _list(item: Shape, otherwise: Shape | None = None) -> Shape:
    def check(value: Any, path: str, found: Findings) -> None:
        if isinstance(value, list):
            for place, each in enumerate(value):
                item(each, f"{path}[{place}]", found)
        elif otherwise is not None:
            otherwise(value, path, found)
        else:
            found.malformed.append((path, "is not a list"))

    return check


def _object(members: Mapping[str, Shape]) -> Shape:
    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, dict):
            found.malformed.append((path, "is not an object"))
            return
        for name, member in value.items():
            _member(members, name, member, path, found)

    return check


def _member(
    members: Mapping[str, Shape], name: str, value: Any, path: str, found: Findings
) -> None:
    """Check one member. The path of an unknown one ends before its name, which is foreign text."""
    inside = f"{path}." if path else ""
    if name in members:
        if value is not None:
            members[name](value, inside + name, found)
    elif name.casefold() in members:  # some parsers, such as Go's, ignore case
        found.malformed.append((inside + name.casefold(), "is not spelled in lower case"))
    elif value is not None:
        found.unknown.append(path or "the body")


def _by_type(shapes: Mapping[str, Shape], without: Shape = _unbounded) -> Shape:
    """Choose the shape of an object by its `type`; `without` is for an object that has none."""

    def check(value: Any, path: str, found: Findings) -> None:
        kind = value.get("type") if isinstance(value, dict) else 0
        if kind is None:
            without(value, path, found)
        elif isinstance(kind, str) and kind in shapes:
            shapes[kind](value, path, found)
        else:
            found.unknown.append(path)

    return check


def _text_or(other: Shape) -> Shape:
    def check(value: Any, path: str, found: Findings) -> None:
        if not isinstance(value, str):
            other(value, path, found)

    return check


def _attachment(members: Mapping[str, Shape]) -> Shape:
    """Count one attachment, and note what else may be in it."""
    known = _object({"type": _text, **members})

    def check(value: Any, path: str, found: Findings) -> None:
        found.attachments.append(value)
        known(value, path, found)

    return check


def _each(shape: Shape, *names: str) -> dict[str, Shape]:
    return dict.fromkeys(names, shape)


_TEXT_PARTS: dict[str, Shape] = {
    "text": _object(_each(_text, "type", "text")),
    "reference": _object({"type": _text, "reference_ids": _list(_setting)}),
}
_PART = _by_type(
    {
        **_TEXT_PARTS,
        "thinking": _object(
            {
                **_each(_text, "type", "signature"),
                "thinking": _text_or(_list(_by_type(_TEXT_PARTS), otherwise=_unbounded)),
                "closed": _setting,
            }
        ),
        "image_url": _attachment(
            {"image_url": _text_or(_object(_each(_text, "url", "detail")))},
        ),
        "document_url": _attachment(_each(_text, "document_url", "document_name")),
        "file": _attachment(_each(_text, "file_id")),
        "input_audio": _attachment(
            {"input_audio": _text_or(_object(_each(_text, "data", "format")))}
        ),
    }
)
_CONTENT = _text_or(_list(_PART, otherwise=_unbounded))

_TOOL_CALL = _object(
    {
        **_each(_setting, "id", "type", "index"),
        "function": _object({"name": _text, "arguments": _any_json}),
    }
)
_MESSAGE = _object(
    {
        **_each(_text, "role", "name", "tool_call_id"),
        "content": _CONTENT,
        "tool_calls": _list(_TOOL_CALL),
        "prefix": _setting,
    }
)

_FUNCTION = _object(
    {
        "type": _text,
        "function": _object(
            {**_each(_text, "name", "description"), "strict": _setting, "parameters": _any_json}
        ),
    }
)
_TOOLS_OF_MISTRAL = (
    "web_search", "web_search_premium", "code_interpreter", "image_generation", "document_library",
    "connector",
)  # fmt: skip
_TOOL = _by_type(
    {"function": _FUNCTION, **_each(_tool_of_mistral, *_TOOLS_OF_MISTRAL)}, without=_FUNCTION
)

_FORMAT = _object(
    {
        "type": _text,
        "json_schema": _object(
            {
                **_each(_text, "name", "description"),
                "strict": _setting,
                # The SDK's name, and that of the API.
                **_each(_any_json, "schema_definition", "schema"),
            }
        ),
    }
)

_GENERATION: dict[str, Shape] = {
    **_each(
        _setting,
        "model", "max_tokens", "min_tokens", "temperature", "top_p", "stream", "random_seed",
        "prompt_cache_key",
    ),
    "stop": _text_or(_list(_text)),
    "metadata": _any_json,
}  # fmt: skip

_CHAT = _object(
    {
        **_GENERATION,
        **_each(
            _setting,
            "n", "service_tier", "safe_prompt", "presence_penalty", "frequency_penalty",
            "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs",
            "top_prompt_logprobs", "parallel_tool_calls", "reasoning_effort",
        ),
        "messages": _text_or(_list(_MESSAGE)),
        "tools": _list(_TOOL),
        "tool_choice": _text_or(
            _object({"type": _text, "function": _object(_each(_text, "name"))})
        ),
        "response_format": _FORMAT,
        "prediction": _object(_each(_text, "type", "content")),
        "prompt_mode": _prompt_mode,
        "guardrails": _unbounded,
    }
)  # fmt: skip

_TEXTS = _text_or(_list(_setting))
_CONVERSATION = _text_or(_list(_text_or(_list(_MESSAGE, otherwise=_MESSAGE))))

SHAPES: dict[int, Shape] = {
    pb.ENDPOINT_CHAT: _CHAT,
    pb.ENDPOINT_FIM: _object({**_GENERATION, **_each(_text, "prompt", "suffix")}),
    pb.ENDPOINT_EMBEDDINGS: _object(
        {
            **_each(_TEXTS, "input", "inputs"),  # the API's name, and the SDK's
            **_each(_setting, "model", "output_dimension", "output_dtype", "encoding_format"),
            "metadata": _any_json,
        }
    ),
    pb.ENDPOINT_MODERATION: _object(
        {
            **_each(_CONVERSATION, "input", "inputs"),
            "model": _setting,
            "metadata": _any_json,
        }
    ),
    pb.ENDPOINT_OCR: _object(
        {
            **_each(
                _setting,
                "model", "id", "include_image_base64", "image_limit", "image_min_size",
                "document_annotation_prompt", "table_format", "extract_header", "extract_footer",
                "include_blocks", "confidence_scores_granularity",
            ),
            # The pages are what is billed, whatever the document is.
            **_each(_any_json, "document", "pages"),
            **_each(_FORMAT, "document_annotation_format", "bbox_annotation_format"),
        }
    ),
    pb.ENDPOINT_SPEECH: _object(
        {
            **_each(
                _setting,
                "model", "input", "voice_id", "ref_audio", "stream", "response_format",
                "prompt_cache_key", "expressiveness",
            ),
            **_each(_any_json, "metadata", "phoneme_hints"),
            "conversation_history": _unbounded,
        }
    ),
}  # fmt: skip
"""By endpoint. Requests that are billed by time have none: they do not say how long it is."""
