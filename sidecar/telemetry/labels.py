"""Metric labels: values from apps and policies, bounded and printable."""

import hashlib

MAX_CHARACTERS = 128


def label(text: str) -> str:
    """Return a text as a label's value: printable, and of bounded length.

    Different texts stay different, by a digest.
    """
    if text.isprintable() and len(text) <= MAX_CHARACTERS:
        return text
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:12]
    return f"{shown[: MAX_CHARACTERS - 13]}~{digest}"
