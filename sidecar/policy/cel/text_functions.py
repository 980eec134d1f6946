"""The functions on texts that rules may call: `lowerAscii`, `split` and `trim`, as Python.

cel-cpp has them in an extension; cel-python has none of them. These do what cel-cpp's do.
"""

import string

FORMS = {"lowerAscii": "text.lowerAscii()", "split": 'text.split(",")', "trim": "text.trim()"}
"""How a rule calls each."""

_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's property White_Space. Python's own strip() also takes U+001C to U+001F."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def lower_ascii(text: str) -> str:
    """Return the text with A to Z in lower case; all other letters stay."""
    return text.translate(_LOWER)


def split(text: str, separator: str) -> list[str]:
    """Return what is between the separators: one text more than there are separators."""
    return text.split(separator)


def trim(text: str) -> str:
    """Return the text without white space at its ends."""
    return text.strip(_WHITE_SPACE)
