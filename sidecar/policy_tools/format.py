"""The canonical format of a rule: what `sidecar fmt` writes.

Tokens keep their text and order; only the space between them changes. Lines that are too long
break after their weakest operators, then inside their widest brackets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sidecar.policy.files.header import FIRST_LINE, KEYS_BY_EFFECT, Entry

WIDTH = 100
INDENT = "  "

KEYS = (
    "effect", "mode", "reason", "http_status", "message", "description", "owner", "meter",
    "window", "per", "alert_at", "on_expiry",
)  # fmt: skip
"""The keys of a header, in their order."""
assert set(KEYS) == set().union(*KEYS_BY_EFFECT.values())

SEPARATORS = (",", ":", "?", "||", "&&")
"""Where an expression may break, the weakest first; the colon is that of `a ? b : c`."""

_WORD = re.compile(
    r"""(?P<blank>\s+)|(?P<comment>//[^\n]*)
    |"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'
    |0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?
    |[A-Za-z_]\w*|&&|\|\||[<>=!]=|[^\s\w]""",
    re.VERBOSE,
)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OPERAND_ENDS = re.compile(r"[\w.]*\w|[\"'].*|[)\]}]", re.DOTALL)


@dataclass(slots=True)
class _Word:
    """A token of CEL, with the comments that stand above it and beside it."""

    text: str
    above: list[str]
    """Comments on lines of their own; "" is an empty line."""
    beside: str = ""
    spaced: bool = False
    """Whether a space stands before it."""
    separates: bool = False


@dataclass(slots=True)
class _Brackets:
    """A pair of brackets and what is in it; `above_close` are the comments at its end."""

    open: _Word
    pieces: "list[_Piece]"
    above_close: list[str]
    close: _Word


@dataclass(slots=True)
class _Piece:
    """What stands between two separators, with the one after it, and its comments."""

    items: list[_Word | _Brackets] = field(default_factory=list)
    separator: _Word | None = None
    above: list[str] = field(default_factory=list)
    beside: str = ""


def format_rule(text: str, entries: dict[str, Entry]) -> str:
    """Return the canonical text of a valid rule with these header entries."""
    lines = text.splitlines()
    header_ends = next(n for n, line in enumerate(lines) if not line.startswith("//"))
    header = [f"// {key}: {_value(key, entries[key].value)}" for key in KEYS if key in entries]
    pieces, at_end, _ = _read(iter(_words("\n".join(lines[header_ends:]))))
    body = [*_layout(pieces, WIDTH), *at_end]
    while not body[0]:
        del body[0]
    apart = [""] if body[0].startswith("//") else []  # or the comment would be of the header
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
    pieces, _, _ = _read(iter(_words(source)))
    return _flat(pieces)


def _words(source: str) -> list[_Word]:
    """Cut a source into words; the last is empty and has the comments at the end."""
    words: list[_Word] = []
    above: list[str] = []
    newlines = 1
    for found in _WORD.finditer(source):
        if found["blank"]:
            newlines = found[0].count("\n")
            continue
        if not found["comment"]:
            words.append(_Word(found[0], above))
            above = []
        elif newlines or not words or above:
            above += [*([""] if newlines > 1 else []), found[0].rstrip()]
        else:
            words[-1].beside = found[0].rstrip()
        newlines = 0
    _space(words)
    return [*words, _Word("", above)]


def _space(words: list[_Word]) -> None:
    """Say before which words a space stands, and which words are separators."""
    choices = [0]  # for each open bracket, how many `?` still lack their `:`
    previous, joined = "", True
    for word in words:
        text = word.text
        after_operand = previous != "in" and bool(_OPERAND_ENDS.fullmatch(previous))
        word.separates = text in SEPARATORS and (text != ":" or choices[-1] > 0)
        if text in ("(", "[", "{"):
            choices.append(0)
        elif text in (")", "]", "}"):
            choices.pop()
        elif word.separates and text in "?:":
            choices[-1] += 1 if text == "?" else -1
        word.spaced = not (
            joined
            or text in (")", "]", "}", ",", ".")
            or (text in ("(", "[", "{") and after_operand)
            or (text == ":" and not word.separates)
        )
        joined = text in ("(", "[", "{", ".", "!") or (text == "-" and not after_operand)
        previous = text


def _read(words: Iterator[_Word]) -> tuple[list[_Piece], list[str], _Word]:
    """Read pieces up to the bracket that closes them; return them, the comments above it, and it.

    A comment in the midst of a piece goes above the piece.
    """
    pieces = [_Piece()]
    for word in words:
        piece = pieces[-1]
        if word.text in (")", "]", "}", ""):
            kept = [piece for piece in pieces if piece.items]
            return kept, word.above, word
        if word.separates:
            piece.separator = word
            pieces.append(_Piece(above=word.above))
            if piece.beside and word.beside:
                pieces[-1].above.append(word.beside)
            piece.beside = piece.beside or word.beside
            continue
        piece.above += [*([piece.beside] if piece.beside else []), *word.above]
        if word.text in ("(", "[", "{"):
            inside, above_close, close = _read(words)
            above_all = [word.beside] if word.beside else []
            if inside:
                inside[0].above[:0] = above_all
            else:
                above_close[:0] = above_all
            piece.items.append(_Brackets(word, inside, above_close, close))
            piece.beside = close.beside
        else:
            piece.items.append(word)
            piece.beside = word.beside
    raise AssertionError("the rule parses, so its brackets match")


def _layout(pieces: list[_Piece], width: int) -> list[str]:
    """Write pieces on one line where they fit and no comment is within, on several if not."""
    line = _flat(pieces)
    if len(line) <= width and not _comments_within(pieces):
        block = [line]
    elif len(pieces) > 1:
        return _stack(pieces, width)
    else:
        block = _expand(pieces[0], width)
    beside = pieces[-1].beside
    return [*pieces[0].above, *block[:-1], f"{block[-1]}  {beside}" if beside else block[-1]]


def _stack(pieces: list[_Piece], width: int) -> list[str]:
    """Break after the weakest separators."""
    present = {piece.separator.text for piece in pieces[:-1] if piece.separator}
    weakest = next(text for text in SEPARATORS if text in present)
    lines: list[str] = []
    for run in _runs(pieces, weakest):
        stepped = weakest == "?" and bool(lines)
        block = _layout(run, width - len(INDENT) * stepped)
        if stepped:
            block = _indented(block)
        elif weakest == "||" and len(run) > 1:  # one operand, perhaps on several lines
            first = len(run[0].above) + 1
            block = [*block[:first], *_indented(block[first:])]
        if lines and len(block) > 1 and _is_in_brackets(run) and "//" not in lines[-1]:
            lines[-1] += f" {block.pop(0)}"
        lines += block
    return lines


def _runs(pieces: list[_Piece], weakest: str) -> list[list[_Piece]]:
    """Cut after each separator of a kind; of colons, after that of the first `?` alone."""
    runs: list[list[_Piece]] = [[]]
    choices = 0
    for piece in pieces:
        runs[-1].append(piece)
        text = piece.separator.text if piece.separator else ""
        choices += (text == "?") - (text == ":")
        if text == weakest and (text != ":" or (len(runs) == 1 and not choices)):
            runs.append([])
    return [run for run in runs if run]


def _is_in_brackets(run: list[_Piece]) -> bool:
    """Whether a run is nothing but `( … )`."""
    items = run[0].items
    return (
        len(run) == len(items) == 1
        and isinstance(items[0], _Brackets)
        and items[0].open.text == "("
        and not run[0].above
    )


def _expand(piece: _Piece, width: int) -> list[str]:
    """Put the content of the widest brackets, or of those with comments, on its own lines."""
    brackets = [item for item in piece.items if isinstance(item, _Brackets)]
    widest = sorted(brackets, key=lambda item: len(_of_item(item)))[-1:]
    opened = [item for item in brackets if _has_comments(item)] or widest
    lines = [""]
    for item in piece.items:
        if isinstance(item, _Brackets) and any(item is each for each in opened):
            lines[-1] += _of_word(item.open)
            inside = _layout(item.pieces, width - len(INDENT)) if item.pieces else []
            lines += [*_indented([*inside, *item.above_close]), item.close.text]
        else:
            lines[-1] += _of_item(item)
    lines[-1] += _of_word(piece.separator) if piece.separator else ""
    return [lines[0].lstrip(), *lines[1:]]


def _comments_within(pieces: list[_Piece]) -> bool:
    """Whether there are comments elsewhere than above all and beside all."""
    return (
        any(piece.beside for piece in pieces[:-1])
        or any(piece.above for piece in pieces[1:])
        or any(
            _has_comments(item)
            for piece in pieces
            for item in piece.items
            if isinstance(item, _Brackets)
        )
    )


def _has_comments(brackets: _Brackets) -> bool:
    pieces = brackets.pieces
    if brackets.above_close or _comments_within(pieces):
        return True
    return bool(pieces) and bool(pieces[0].above or pieces[-1].beside)


def _flat(pieces: list[_Piece]) -> str:
    return "".join(
        "".join(map(_of_item, piece.items)) + (_of_word(piece.separator) if piece.separator else "")
        for piece in pieces
    ).lstrip()


def _of_item(item: _Word | _Brackets) -> str:
    if isinstance(item, _Word):
        return _of_word(item)
    return f"{_of_word(item.open)}{_flat(item.pieces)}{item.close.text}"


def _of_word(word: _Word) -> str:
    return f" {word.text}" if word.spaced else word.text


def _indented(lines: list[str]) -> list[str]:
    return [f"{INDENT}{line}" if line else line for line in lines]
