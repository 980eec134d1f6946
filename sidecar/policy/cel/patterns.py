"""Regular expressions in rules: RE2 patterns in string literals, bounded in size."""

import re2

from sidecar.policy.cel import literals


def states(literal: str) -> int:
    """Return the size of the compiled program of a CEL literal's pattern.

    Both engines compile a pattern at each evaluation, in time about proportional to this
    size. Raises ValueError with RE2's text for an invalid pattern.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return int(re2.compile(literals.text(literal), options).programsize)
    except re2.error as error:
        why = error.args[0]
        raise ValueError(why.decode() if isinstance(why, bytes) else str(why)) from None
