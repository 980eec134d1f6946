"""Texts that two readers may take for different ones, by what is odd in them."""

CONTROLS = {
    "NUL": "ada\0x",
    "NUL first": "\0ada",
    "NUL last": "ada\0",
    "escape": "ada\x1b[2J",
    "line feed": "ada\nx",
    "delete": "ada\x7f",
    "C1 control": "ada\x85x",
}
"""Texts with a control character."""

SURROGATES = {"half a pair": "ada\ud800", "two halves": "\ud83d\ude00"}
"""Texts that UTF-8 cannot encode."""

UNUSUAL = {
    "non-character": "ada\uffff",
    "last non-character": "ada\U0010ffff",
    "Arabic non-character": "\ufdd0ada",
    "byte order mark": "\ufeffada",
    "right to left": "\u202eada",
    "zero width": "a\u200dda",
    "tag": "ada\U000e0041",
    "private use": "ada\ue000",
    "outside the first plane": "ada\U0001f600",
    "combining": "e\u0301",
    "composed": "\u00e9",
    "line separator": "ada\u2028x",
    "replacement": "ada\ufffd",
}
"""Unicode texts without control characters."""
