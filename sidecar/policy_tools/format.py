"""The canonical format of a rule, as `sidecar fmt` writes it.

Tokens keep their text and order; only the white space between them changes. A line that is too
long breaks after its operators of the lowest precedence, then inside its widest brackets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sidecar.policy.files.header import FIRST_LINE, KEYS_BY_EFFECT, Entry

WIDTH = 100
INDENT = "  "

KEYS = (
    "effect", "mode", "reason", "http_status", "message", "description", "owner", "meter",
    "window", "starts_on", "starts_at", "per", "alert_at", "on_expiry",
)  # fmt: skip
"""The keys of a header, in their order."""
assert set(KEYS) == set().union(*KEYS_BY_EFFECT.values())

SEPARATORS = (",", ":", "?", "||", "&&")
"""Where an expression may break, the lowest precedence first; `:` is that of `a ? b : c`."""

_TOKEN = re.compile(
    r"""(?P<blank>\s+)|(?P<comment>//[^\n]*)
    |"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'
    |0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?
    |[A-Za-z_]\w*|&&|\|\||[<>=!]=|[^\s\w]""",
    re.VERBOSE,
)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OPERAND_ENDS = re.compile(r"[\w.]*\w|[\"'].*|[)\]}]", re.DOTALL)


@dataclass(slots=True)
class _Token:
    """A token of CEL, with the comments above and beside it."""

    text: str
    above: list[str]
    """Comments on lines of their own; "" is an empty line."""
    beside: str = ""
    spaced: bool = False
    """Whether a space comes before it."""
    separates: bool = False
    """Whether it is one of SEPARATORS, where the expression may break."""


@dataclass(slots=True)
class _Brackets:
    """A pair of brackets and its content; `above_close` are the comments at the end of it."""

    open: _Token
    segments: "list[_Segment]"
    above_close: list[str]
    close: _Token


@dataclass(slots=True)
class _Segment:
    """The part of an expression up to a separator, with that separator, and its comments."""

    items: list[_Token | _Brackets] = field(default_factory=list)
    separator: _Token | None = None
    above: list[str] = field(default_factory=list)
    beside: str = ""


def format_rule(text: str, entries: dict[str, Entry]) -> str:
    """Return the canonical text of a valid rule with these header entries."""
    lines = text.splitlines()
    header_ends = next(n for n, line in enumerate(lines) if not line.startswith("//"))
    header = [f"// {key}: {_value(key, entries[key].value)}" for key in KEYS if key in entries]
    segments, at_end, _ = _read(iter(_tokens("\n".join(lines[header_ends:]))))
    body = [*_layout(segments, WIDTH), *at_end]
    while not body[0]:
        del body[0]
    apart = [""] if body[0].startswith("//") else []  # else the comment would belong to the header
    return "\n".join([FIRST_LINE, *header, *apart, *body, ""])


def _value(key: str, value: str) -> str:
    match key:
        case "per":
            return in_line(value)
        case "alert_at":
            return ", ".join(re.findall(r"\d+%", value))
        case "message":
            return _PLACEHOLDER.sub(lambda found: f"{{{in_line(found[1])}}}", value)
    return value


def in_line(source: str) -> str:
    """Return an expression without comments, on one line."""
    segments, _, _ = _read(iter(_tokens(source)))
    return _flat(segments)


def _tokens(source: str) -> list[_Token]:
    """Split a source into tokens; the last one is empty and has the comments at the end."""
    tokens: list[_Token] = []
    above: list[str] = []
    newlines = 1
    for found in _TOKEN.finditer(source):
        if found["blank"]:
            newlines = found[0].count("\n")
            continue
        if not found["comment"]:
            tokens.append(_Token(found[0], above))
            above = []
        elif newlines or not tokens or above:
            above += [*([""] if newlines > 1 else []), found[0].rstrip()]
        else:
            tokens[-1].beside = found[0].rstrip()
        newlines = 0
    _set_spacing(tokens)
    return [*tokens, _Token("", above)]


def _set_spacing(tokens: list[_Token]) -> None:
    """Set `spaced` and `separates` of each token."""
    choices = [0]  # for each open bracket, the number of `?` without their `:` so far
    previous, joined = "", True
    for token in tokens:
        text = token.text
        after_operand = previous != "in" and bool(_OPERAND_ENDS.fullmatch(previous))
        token.separates = text in SEPARATORS and (text != ":" or choices[-1] > 0)
        if text in ("(", "[", "{"):
            choices.append(0)
        elif text in (")", "]", "}"):
            choices.pop()
        elif token.separates and text in "?:":
            choices[-1] += 1 if text == "?" else -1
        token.spaced = not (
            joined
            or text in (")", "]", "}", ",", ".")
            or (text in ("(", "[", "{") and after_operand)
            or (text == ":" and not token.separates)
        )
        joined = text in ("(", "[", "{", ".", "!") or (text == "-" and not after_operand)
        previous = text


def _read(tokens: Iterator[_Token]) -> tuple[list[_Segment], list[str], _Token]:
    """Read segments up to the closing bracket; return them, its comments above, and the bracket.

    A comment within a segment moves above the segment.
    """
    segments = [_Segment()]
    for token in tokens:
        segment = segments[-1]
        if token.text in (")", "]", "}", ""):
            kept = [segment for segment in segments if segment.items]
            return kept, token.above, token
        if token.separates:
            segment.separator = token
            segments.append(_Segment(above=token.above))
            if segment.beside and token.beside:
                segments[-1].above.append(token.beside)
            segment.beside = segment.beside or token.beside
            continue
        segment.above += [*([segment.beside] if segment.beside else []), *token.above]
        if token.text in ("(", "[", "{"):
            inside, above_close, close = _read(tokens)
            above_all = [token.beside] if token.beside else []
            if inside:
                inside[0].above[:0] = above_all
            else:
                above_close[:0] = above_all
            segment.items.append(_Brackets(token, inside, above_close, close))
            segment.beside = close.beside
        else:
            segment.items.append(token)
            segment.beside = token.beside
    raise AssertionError("the rule parses, so its brackets match")


def _layout(segments: list[_Segment], width: int) -> list[str]:
    """Write segments on one line if they fit and have no comments within, else on several."""
    line = _flat(segments)
    if len(line) <= width and not _comments_within(segments):
        block = [line]
    elif len(segments) > 1:
        return _stack(segments, width)
    else:
        block = _expand(segments[0], width)
    beside = segments[-1].beside
    return [*segments[0].above, *block[:-1], f"{block[-1]}  {beside}" if beside else block[-1]]


def _stack(segments: list[_Segment], width: int) -> list[str]:
    """Break after the separators of the lowest precedence."""
    present = {segment.separator.text for segment in segments[:-1] if segment.separator}
    lowest = next(text for text in SEPARATORS if text in present)
    lines: list[str] = []
    for run in _runs(segments, lowest):
        stepped = lowest == "?" and bool(lines)
        block = _layout(run, width - len(INDENT) * stepped)
        if stepped:
            block = _indented(block)
        elif lowest == "||" and len(run) > 1:  # one operand, perhaps on several lines
            first = len(run[0].above) + 1
            block = [*block[:first], *_indented(block[first:])]
        if lines and len(block) > 1 and _is_in_brackets(run) and "//" not in lines[-1]:
            lines[-1] += f" {block.pop(0)}"
        lines += block
    return lines


def _runs(segments: list[_Segment], lowest: str) -> list[list[_Segment]]:
    """Split after each separator of a kind; of colons, only after that of the first `?`."""
    runs: list[list[_Segment]] = [[]]
    choices = 0
    for segment in segments:
        runs[-1].append(segment)
        text = segment.separator.text if segment.separator else ""
        choices += (text == "?") - (text == ":")
        if text == lowest and (text != ":" or (len(runs) == 1 and not choices)):
            runs.append([])
    return [run for run in runs if run]


def _is_in_brackets(run: list[_Segment]) -> bool:
    """Whether a run is one pair of parentheses, `( … )`, and nothing else."""
    items = run[0].items
    return (
        len(run) == len(items) == 1
        and isinstance(items[0], _Brackets)
        and items[0].open.text == "("
        and not run[0].above
    )


def _expand(segment: _Segment, width: int) -> list[str]:
    """Put the content of the widest brackets, or of brackets with comments, on separate lines."""
    brackets = [item for item in segment.items if isinstance(item, _Brackets)]
    widest = sorted(brackets, key=lambda item: len(_item_text(item)))[-1:]
    opened = [item for item in brackets if _has_comments(item)] or widest
    lines = [""]
    for item in segment.items:
        if isinstance(item, _Brackets) and any(item is each for each in opened):
            lines[-1] += _token_text(item.open)
            inside = _layout(item.segments, width - len(INDENT)) if item.segments else []
            lines += [*_indented([*inside, *item.above_close]), item.close.text]
        else:
            lines[-1] += _item_text(item)
    lines[-1] += _token_text(segment.separator) if segment.separator else ""
    return [lines[0].lstrip(), *lines[1:]]


def _comments_within(segments: list[_Segment]) -> bool:
    """Whether a comment is anywhere but above the first segment and beside the last one."""
    return (
        any(segment.beside for segment in segments[:-1])
        or any(segment.above for segment in segments[1:])
        or any(
            _has_comments(item)
            for segment in segments
            for item in segment.items
            if isinstance(item, _Brackets)
        )
    )


def _has_comments(brackets: _Brackets) -> bool:
    segments = brackets.segments
    if brackets.above_close or _comments_within(segments):
        return True
    return bool(segments) and bool(segments[0].above or segments[-1].beside)


def _flat(segments: list[_Segment]) -> str:
    return "".join(
        "".join(map(_item_text, segment.items))
        + (_token_text(segment.separator) if segment.separator else "")
        for segment in segments
    ).lstrip()


def _item_text(item: _Token | _Brackets) -> str:
    if isinstance(item, _Token):
        return _token_text(item)
    return f"{_token_text(item.open)}{_flat(item.segments)}{item.close.text}"


def _token_text(token: _Token) -> str:
    return f" {token.text}" if token.spaced else token.text


def _indented(lines: list[str]) -> list[str]:
    return [f"{INDENT}{line}" if line else line for line in lines]
