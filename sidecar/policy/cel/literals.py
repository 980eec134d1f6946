r"""Text literals of CEL: the forms that both engines read alike, and the text of each.

These are strings in one line, with few escapes, and raw strings without an escaped quote:
one engine ends `r"\"` where the other goes on.
"""

import re

_PLAIN = r'"(?:[^"\\\n]|\\[\\"\'nrt])*"|\'(?:[^\'\\\n]|\\[\\"\'nrt])*\''
_RAW = r'[rR](?:"(?:[^"\\\n]|\\[^"\'\n])*"|\'(?:[^\'\\\n]|\\[^"\'\n])*\')'
_PORTABLE = re.compile(f"{_PLAIN}|{_RAW}")
_NO_CODE = re.compile(rf"//[^\n]*|{_PLAIN}|\b{_RAW}")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}

FORMS = (
    r"write strings in one line, with no escapes but \\ \" "
    r"""\' \n \r \t, or raw, as in r'^\d+$'"""
)


def is_portable(literal: str) -> bool:
    """Whether both engines read the literal as the same text."""
    return _PORTABLE.fullmatch(literal) is not None


def text(literal: str) -> str:
    """Return the text of a portable literal."""
    if literal[0] in "rR":
        return literal[2:-1]
    return _ESCAPED.sub(lambda found: _ESCAPES[found[1]], literal[1:-1])


def code(source: str) -> str:
    """Return an expression without its comments and text literals, if those are portable."""
    return _NO_CODE.sub(" ", source)
