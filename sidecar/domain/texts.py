"""Characters that people cannot see: finds them in a text, or writes them as escapes."""

import re

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Characters that count as printable, and that are drawn as nothing: fillers and selectors."""


def is_visible(text: str) -> bool:
    """Whether each character of a text can be seen; a space counts as seen."""
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def printable(text: str) -> str:
    """Return a text with escapes for characters that are neither printable nor tabs."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
