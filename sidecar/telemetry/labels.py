"""The values of labels, which come from apps and from policies."""

import hashlib

MAX_CHARACTERS = 128


def label(text: str) -> str:
    """Return a text as the value of a label: of a bounded length, and all of it printable.

    Texts that differ stay different.
    """
    if text.isprintable() and len(text) <= MAX_CHARACTERS:
        return text
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:12]
    return f"{shown[: MAX_CHARACTERS - 13]}~{digest}"
