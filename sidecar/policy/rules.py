"""Rules: `.cel` files, read, checked and compiled."""

import re
from dataclasses import dataclass
from enum import StrEnum

from sidecar.domain.decisions import Meter
from sidecar.domain.windows import CALENDAR, WEEKDAYS, Anchor, Window
from sidecar.policy.cel import variables
from sidecar.policy.cel.engine import CelError, ResultKind
from sidecar.policy.expressions import Expression, ExpressionCompiler
from sidecar.policy.files import header
from sidecar.policy.files.header import Entry
from sidecar.policy.files.problems import Problem, at, did_you_mean

MAX_RULE_BYTES = 16_384
MAX_NESTING = 24
"""One of the parsers fails on brackets nested deeper."""

ALERT_AT_PERCENT = dict.fromkeys((*CALENDAR, Window.TOTAL), (50, 80, 100))
"""The thresholds of limits without `alert_at`, in percent; none for short windows."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""CEL in a message."""
_SPEND = re.compile(r"\bspend\s*\[\s*[\"']([^\"']+)[\"']\s*\]|\bspend\.(\w+)")
# An unterminated string ends with its line: otherwise the pattern would start again at each
# quote in it, and take quadratic time, during which no other thread runs.
_STRING_OR_COMMENT = re.compile(r"//[^\n]*|\"(?:\\.|[^\"\\\n])*+\"?|'(?:\\.|[^'\\\n])*+'?")


class RuleEffect(StrEnum):
    """What a rule does: it allows, denies, or limits."""

    ALLOW = "allow"
    DENY = "deny"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Message:
    """A message with CEL placeholders in braces: `parts` alternate texts and expressions."""

    plain: str
    """The message as it is written."""
    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True)
class LimitTerms:
    """The part of a rule that only limits have."""

    meter: Meter
    window: Window
    per: Expression
    alert_at_percent: tuple[int, ...]
    """The thresholds of its alerts, in percent, lowest first."""
    charge_on_expiry: bool
    anchor: Anchor


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a policy set. Allow rules have an empty reason and message, and status 0."""

    id: str
    effect: RuleEffect
    owner: str
    description: str
    shadow: bool
    body: Expression
    reason: str
    http_status: int
    message: Message
    limit: LimitTerms | None

    @property
    def terms(self) -> LimitTerms:
        """The terms of a limit rule; only limits have them."""
        assert self.limit is not None, "only limits have terms"
        return self.limit

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Every expression of the rule."""
        filled_in = tuple(part for part in self.message.parts if isinstance(part, Expression))
        scope = () if self.limit is None else (self.limit.per,)
        return (self.body, *scope, *filled_in)


class RuleReader:
    """Reads rule files: header, expressions, and the terms of limits."""

    def __init__(self, compiler: ExpressionCompiler) -> None:
        """Compile each expression with this."""
        self._compiler = compiler

    def read(self, file: str, text: str) -> tuple[Rule | None, list[Problem]]:
        """Return the rule, or all its problems. Raises nothing, whatever the text is."""
        try:
            return self._read(file, text)
        except Exception as error:
            message = f"cannot be read: an unexpected {type(error).__name__}"
            hint = "this is a fault of the sidecar: please report the rule"
            return None, [at(file, text, *_body_place(text), message, hint)]

    def _read(self, file: str, text: str) -> tuple[Rule | None, list[Problem]]:
        rule_id = file.removesuffix(".cel")
        problems: list[Problem] = []
        if not _ID.fullmatch(rule_id):
            problems.append(
                Problem(
                    file,
                    0,
                    0,
                    "a rule's file name may have only lower-case letters, digits, - and _",
                )
            )
        if exceeded := _exceeded_bound(text):
            return None, [*problems, at(file, text, 1, 1, exceeded)]
        entries, wrong = header.parse(file, text)
        problems += wrong
        if "effect" not in entries or entries["effect"].value not in header.KEYS_BY_EFFECT:
            return None, problems
        rule = self._build(file, text, rule_id, entries, problems)
        return (None if problems else rule), problems

    def _build(
        self, file: str, text: str, rule_id: str, entries: dict[str, Entry], problems: list[Problem]
    ) -> Rule | None:
        def value(key: str, default: str = "") -> str:
            return entries[key].value if key in entries else default

        effect = RuleEffect(value("effect"))
        kind = ResultKind.CEILING if effect is RuleEffect.LIMIT else ResultKind.CONDITION
        body = self._compile(file, text, text, kind, _WHOLE_FILE, problems)
        message = self._message(file, text, entries.get("message"), problems)
        per = entries.get("per")
        scope = None if per is None else self._compile(
            file, text, per.value, ResultKind.SCOPE, per, problems
        )  # fmt: skip
        if body is None or problems:
            return None
        limit = None
        if scope is not None:
            limit = LimitTerms(
                meter=Meter(value("meter")),
                window=Window(value("window")),
                per=scope,
                alert_at_percent=_alert_at(value("alert_at"), Window(value("window"))),
                charge_on_expiry=value("on_expiry", "charge") == "charge",
                anchor=_anchor(value("starts_on", "1"), value("starts_at", "00:00")),
            )
            if variables.SPEND in body.reads | scope.reads:
                problems.append(
                    at(file, text, *_body_place(text), "a limit must not read `spend`",
                       "spend is what limits count: read it in a deny rule")
                )  # fmt: skip
        return Rule(
            id=rule_id,
            effect=effect,
            owner=value("owner"),
            description=value("description"),
            shadow=value("mode", "enforce") == "shadow",
            body=body,
            reason=value("reason"),
            http_status=int(value("http_status", "0")),
            message=message,
            limit=limit,
        )

    def _message(
        self, file: str, text: str, entry: Entry | None, problems: list[Problem]
    ) -> Message:
        if entry is None:
            return Message("", ())
        parts: list[str | Expression] = []
        end = 0
        for found in PLACEHOLDER.finditer(entry.value):
            parts.append(entry.value[end : found.start()])
            end = found.end()
            place = Entry(found[1], entry.line, entry.column + found.start(1))
            expression = self._compile(file, text, found[1], ResultKind.TEXT, place, problems)
            if expression is not None:
                parts.append(expression)
                if "principal" in expression.reads and "labels" in found[1]:
                    problems.append(
                        at(file, text, place.line, place.column, "a message must not show labels",
                           "labels come from callers, and stay out of responses and logs")
                    )  # fmt: skip
        parts.append(entry.value[end:])
        if any(brace in part for part in parts if isinstance(part, str) for brace in "{}"):
            problems.append(
                at(file, text, entry.line, entry.column, "the message has an unmatched brace",
                   "CEL is written in braces, as in {role.name}")
            )  # fmt: skip
        return Message(entry.value, tuple(parts))

    def _compile(
        self,
        file: str,
        text: str,
        source: str,
        kind: ResultKind,
        place: Entry,
        problems: list[Problem],
    ) -> Expression | None:
        """Compile an expression that starts at this place in the file."""
        try:
            if place is not _WHOLE_FILE:
                _refuse_comments(source)
            return self._compiler.compile(source, kind)
        except RecursionError:
            message, hint = "the expression nests too deeply", "split it into several rules"
            place = Entry("", *_body_place(text)) if place is _WHOLE_FILE else place
            problems.append(at(file, text, place.line, place.column, message, hint))
            return None
        except CelError as error:
            if error.line:
                line = place.line + error.line - 1
                column = error.column + (place.column - 1 if error.line == 1 else 0)
            else:  # the error is about the whole expression
                whole = place is _WHOLE_FILE
                line, column = _body_place(text) if whole else (place.line, place.column)
            last = len(text.splitlines())
            if line > last:  # an error at the end of the file: show the last line
                line, column = last, len(text.splitlines()[-1]) + 1
            problems.append(at(file, text, line, column, error.message, error.hint))
            return None


def _alert_at(text: str, window: Window) -> tuple[int, ...]:
    """Return a header's thresholds, lowest first, or else the window's defaults."""
    named = sorted({int(percent) for percent in re.findall(r"\d+", text)})
    return tuple(named) or ALERT_AT_PERCENT.get(window, ())


def _anchor(starts_on: str, starts_at: str) -> Anchor:
    """Return where a header says that windows begin."""
    day = WEEKDAYS.index(starts_on) + 1 if starts_on in WEEKDAYS else int(starts_on)
    return Anchor(day, int(starts_at[:2]))


def unknown_spend_limits(rule: Rule, text: str, limits: set[str]) -> list[Problem]:
    """Return a problem for each `spend["…"]` of an unknown limit, which would always fail."""
    if not any(variables.SPEND in expression.reads for expression in rule.expressions):
        return []
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        for found in _SPEND.finditer(_cel_of(line)):
            name = found[1] or found[2]
            if name not in limits:
                message, hint = f"no limit is named '{name}'", did_you_mean(name, limits)
                place = (number, found.start() + 1)
                problems.append(at(f"{rule.id}.cel", text, *place, message, hint))
    return problems


def _cel_of(line: str) -> str:
    """Return a line of a rule file, with spaces in place of all that is not CEL."""
    key = line.removeprefix("//").lstrip()
    if line.startswith("//") and key.startswith("per:"):
        return line
    if line.startswith("//") and key.startswith("message:"):
        return _NO_PLACEHOLDER.sub(lambda found: " " * len(found[0]), line)
    return _STRING_OR_COMMENT.sub(
        lambda found: " " * len(found[0]) if found[0].startswith("//") else found[0], line
    )


_NO_PLACEHOLDER = re.compile(r"(?:^|\})[^{]*")

_WHOLE_FILE = Entry("", 1, 1)
"""The place of a rule's body: the whole file is compiled, comments included."""


def _body_place(text: str) -> tuple[int, int]:
    """Return the line and column where the expression itself begins."""
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.strip()
        if code and not code.startswith("//"):
            return number, line.index(code) + 1
    return 1, 1


def _refuse_comments(source: str) -> None:
    if any(found[0].startswith("//") for found in _STRING_OR_COMMENT.finditer(source)):
        raise CelError("CEL in a header must not have comments", hint="write them below the header")


def _exceeded_bound(text: str) -> str:
    """Return which bound the file exceeds, or ""; both parsers have limits."""
    if len(text.encode()) > MAX_RULE_BYTES:
        return f"the rule is larger than {MAX_RULE_BYTES // 1024} KiB ({MAX_RULE_BYTES:,} bytes)"
    depth = 0
    for character in _STRING_OR_COMMENT.sub("", text):
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_NESTING:
            return f"the rule nests brackets deeper than {MAX_NESTING}"
    return ""
