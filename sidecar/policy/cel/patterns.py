"""Regular expressions in rules: RE2 patterns in string literals, bounded in size."""

import re

import re2

_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


def states(literal: str) -> int:
    """Return the size of the compiled program of a CEL literal's pattern.

    Both engines compile a pattern at each evaluation, in time about proportional to this
    size. Raises ValueError with RE2's text for an invalid pattern.
    """
    options = re2.Options()
    options.log_errors = False
    pattern = _ESCAPED.sub(lambda found: _ESCAPES[found[1]], literal[1:-1])
    try:
        return int(re2.compile(pattern, options).programsize)
    except re2.error as error:
        why = error.args[0]
        raise ValueError(why.decode() if isinstance(why, bytes) else str(why)) from None
