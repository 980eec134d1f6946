"""The output of commands, in which control codes and line feeds of names are escaped.

Names come from policies, ledgers and answers of servers, and may be anything: control codes, marks
of the writing direction, line feeds. Here they become text that people can see. All commands write
by this module, or tables by `tables.py`.
"""

import json
import sys
from collections.abc import Iterator
from typing import TextIO

from sidecar.domain.texts import printable


def say(*lines: object, err: bool = False) -> None:
    """Write lines, each as one line: a line feed within it is escaped, too."""
    for line in lines:
        print(printable(str(line)), file=sys.stderr if err else sys.stdout, flush=True)


def say_all(text: str, *, err: bool = False) -> None:
    """Write a text of several lines, in which names are escaped already, such as problems."""
    say(*text.removesuffix("\n").split("\n"), err=err)


def confirms(question: str) -> bool:
    """Ask a question; return whether the answer is yes. No answer is a no."""
    sys.stdout.write(printable(f"{question} [y/N] "))
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def say_json(value: object, stream: TextIO | None = None) -> None:
    """Write JSON, by default to standard output; what cannot be printed is an escape in it."""
    out = stream or sys.stdout
    for piece in _json_pieces(value):
        out.write(piece)
    out.write("\n")


def _json_pieces(value: object) -> Iterator[str]:
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        if piece.isprintable():
            yield piece
        else:
            yield "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in piece)
