"""The header of a rule file: `// METADATA`, then `// key: value` lines."""

import re
from dataclasses import dataclass

from sidecar.domain.windows import BEGINS_AT_AN_HOUR, BEGINS_ON_A_DAY, WEEKDAYS, Window
from sidecar.policy.files.problems import Problem, at, did_you_mean

FIRST_LINE = "// METADATA"

FOR_ALL = {"effect", "owner", "description", "mode"}
FOR_REFUSALS = {"reason", "http_status", "message"}
OF_LIMITS = {"starts_on", "starts_at", "alert_at", "on_expiry"}
FOR_LIMITS = {"meter", "window", "per"} | OF_LIMITS
OPTIONAL = {"description", "mode"} | OF_LIMITS

KEYS_BY_EFFECT = {
    "allow": FOR_ALL,
    "deny": FOR_ALL | FOR_REFUSALS,
    "limit": FOR_ALL | FOR_REFUSALS | FOR_LIMITS,
}

KNOWN: set[str] = set().union(*KEYS_BY_EFFECT.values())

CHOICES = {
    "effect": ("allow", "deny", "limit"),
    "mode": ("enforce", "shadow"),
    "meter": ("requests", "tokens", "cost"),
    "window": tuple(window.value for window in Window),
    "on_expiry": ("charge", "release"),
}

_PATTERNS = {
    "reason": (re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*"), "UPPER_SNAKE, as in MODEL_NOT_ALLOWED"),
    "http_status": (re.compile(r"[45]\d\d"), "an HTTP status from 400 to 599"),
    "starts_at": (re.compile(r"([01]\d|2[0-3]):00"), "a full hour, from 00:00 to 23:00"),
    "alert_at": (
        re.compile(r"[1-9]\d{0,2}%(\s*,\s*[1-9]\d{0,2}%)*"),
        "percentages, as in 50%, 80%, 100%",
    ),
}
_DAY = re.compile(r"[1-9]|1\d|2[0-8]")
_LINE = re.compile(r"// ?(\s*)([A-Za-z_][\w-]*):(\s*)(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value, and where it starts in the file."""

    value: str
    line: int
    column: int


def parse(file: str, text: str) -> tuple[dict[str, Entry], list[Problem]]:
    """Read the header of a rule file; return its entries and problems."""
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != FIRST_LINE:
        hint = f"the header comes first, and its first line is exactly '{FIRST_LINE}'"
        return {}, [at(file, text, 1, 1, "the rule has no header", hint)]
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.startswith("//"):
            break
        found = _LINE.fullmatch(line)
        if found is None:
            problems.append(
                at(file, text, number, 1, "a header line is '// key: value'",
                   "other comments go below the header, after an empty line")
            )  # fmt: skip
        elif found[2] in entries:
            problems.append(
                at(file, text, number, found.start(2) + 1, f"'{found[2]}' is there twice")
            )
        else:
            entries[found[2]] = Entry(found[4], number, found.start(4) + 1)
    wrong = _check(file, text, entries)
    return entries, problems + (_cut_short(file, text, entries) if wrong else []) + wrong


def _cut_short(file: str, text: str, entries: dict[str, Entry]) -> list[Problem]:
    """Return a problem if the header seems to go on after an empty line."""
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("//")), len(lines))
    for number, line in enumerate(lines[end:], start=end + 1):
        found = _LINE.fullmatch(line)
        if found is not None and found[2] in KNOWN and found[2] not in entries:
            message = f"the header ended in line {end}, so this is a comment"
            return [at(file, text, number, 1, message, "a header has no empty lines")]
    return []


def _check(file: str, text: str, entries: dict[str, Entry]) -> list[Problem]:
    """Return problems of keys that do not fit the effect, and of malformed values."""
    effect = entries.get("effect")
    if effect is None:
        hint = "write '// effect: …' below the first line, with allow, deny or limit"
        return [at(file, text, 1, 1, "the header has no 'effect'", hint)]
    allowed = KEYS_BY_EFFECT.get(effect.value)
    if allowed is None:
        return [_choice(file, text, "effect", effect)]
    unknown = [key for key in entries if key not in allowed]
    problems = [
        at(file, text, 1, 1, f"a rule with effect {effect.value} needs '{key}'")
        for key in sorted(allowed - OPTIONAL - entries.keys())
        if not any(f"'{key}'" in did_you_mean(name, allowed) for name in unknown)
    ]
    for key, entry in entries.items():
        column = entry.column - 2 - len(key)  # roughly where the key starts
        if key not in allowed:
            known_elsewhere = any(key in keys for keys in KEYS_BY_EFFECT.values())
            message = (
                f"'{key}' is not for effect {effect.value}"
                if known_elsewhere
                else f"unknown key '{key}'"
            )
            hint = "" if known_elsewhere else did_you_mean(key, allowed)
            problems.append(at(file, text, entry.line, max(1, column), message, hint))
        elif not entry.value:
            problems.append(at(file, text, entry.line, entry.column, f"'{key}' has no value"))
        elif key in CHOICES and entry.value not in CHOICES[key]:
            problems.append(_choice(file, text, key, entry))
        elif key in _PATTERNS and not _PATTERNS[key][0].fullmatch(entry.value):
            problems.append(
                at(file, text, entry.line, entry.column, f"'{key}' has to be {_PATTERNS[key][1]}")
            )
    return problems + _check_anchor(file, text, entries)


def _check_anchor(file: str, text: str, entries: dict[str, Entry]) -> list[Problem]:
    """Return problems of `starts_on` and `starts_at` that do not fit the window."""
    found = entries.get("window")
    if found is None or found.value not in CHOICES["window"]:
        return []
    window = Window(found.value)
    problems = []
    for key, windows in (("starts_on", BEGINS_ON_A_DAY), ("starts_at", BEGINS_AT_AN_HOUR)):
        entry = entries.get(key)
        if entry is None:
            continue
        message, hint = "", ""
        if window not in windows:
            message = f"'{key}' is not for the window {window.value}"
            hint = f"it is for {', '.join(windows[:-1])} and {windows[-1]}"
        elif key == "starts_on" and window is Window.WEEK and entry.value not in WEEKDAYS:
            message = f"'starts_on' of a week has to be a weekday, not '{entry.value}'"
            hint = did_you_mean(entry.value, WEEKDAYS)
        elif key == "starts_on" and window is not Window.WEEK and not _DAY.fullmatch(entry.value):
            message = f"'starts_on' of a {window.value} has to be a day from 1 to 28"
        if message:
            problems.append(at(file, text, entry.line, entry.column, message, hint))
    return problems


def _choice(file: str, text: str, key: str, entry: Entry) -> Problem:
    return at(
        file,
        text,
        entry.line,
        entry.column,
        f"'{entry.value}' is not a valid {key}",
        did_you_mean(entry.value, CHOICES[key]),
    )
