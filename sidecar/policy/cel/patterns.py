"""Regular expressions in rules: RE2's, written as literals, and not large."""

import re

import re2

_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


class PatternError(Exception):
    """What is wrong with a pattern, in RE2's words."""


def states(literal: str) -> int:
    """Return the size of the program that a CEL literal's pattern becomes.

    Both evaluators compile the pattern anew each time, which takes about as long
    as the program is large. Raises PatternError.
    """
    options = re2.Options()
    options.log_errors = False
    pattern = _ESCAPED.sub(lambda found: _ESCAPES[found[1]], literal[1:-1])
    try:
        return int(re2.compile(pattern, options).programsize)
    except re2.error as error:
        why = error.args[0]
        raise PatternError(why.decode() if isinstance(why, bytes) else str(why)) from None
