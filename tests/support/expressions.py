"""Generators of rules that the checker accepts, and of calls, for property tests."""

from datetime import UTC, datetime

from hypothesis import strategies as st
from mistral_spend.v1 import authorization_pb2 as pb

from sidecar.policy.cel.variables import NEVER, Values
from sidecar.v1 import policy_input_pb2 as policy_pb

# -- rules, by type ---------------------------------------------------------

INT_FIELDS = [
    f"request.{name}"
    for name in ("input_tokens", "max_output_tokens", "choices", "tokens", "pages")
] + ["role.max_tokens_per_request", "workspace.requests_per_minute", "key.requests_per_minute"]
TEXT_FIELDS = [
    "request.model", "request.endpoint", "request.region", "principal.id", "principal.role",
    "role.name", "workspace.name", "model.id", "model.family", "key.state", "today",
    'principal.labels["team"]', "principal.labels.service",
]  # fmt: skip
LISTS = [
    "role.allowed_models", "workspace.allowed_models", "key.allowed_models", "model.names",
    "model.aliases",
]  # fmt: skip
TIMES = ["now", "key.created", "key.expires"]
TEXTS = [
    '"ml"',
    "'ada'",
    '"*"',
    '""',
    r'"a\"b"',
    r"'it\'s'",
    r'"\n\t\\"',
    '"é✓"',
    '"mistral-small"',
]
TEXT_CALLS = [".trim()", ".lowerAscii()", '.split("a")[0]', '.split("a")[1]']
SEPARATORS = ['","', '"a"', '"é"', '", "']
INTS = ["0", "1", "2", "500", "-1", "9223372036854775807", "-9223372036854775807"]
DOUBLES = [
    "unlimited",
    "0.0",
    "1.5",
    "0.1",
    "100.25",
    "workspace.monthly_budget_usd",
    "double(request.tokens)",
]


def binary(operators: list[str], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return an operator applied to two expressions of one type."""
    return st.builds("({} {} {})".format, inner, st.sampled_from(operators), inner)


def divided(inner: st.SearchStrategy[str], by: list[str]) -> st.SearchStrategy[str]:
    """Divide by a literal; for ints, take the rest, too."""
    operators = ["/"] if "." in by[0] else ["/", "%"]
    return st.builds("({} {} {})".format, inner, st.sampled_from(operators), st.sampled_from(by))


def typed(depth: int) -> tuple[st.SearchStrategy[str], ...]:
    """Return expressions that are ints, doubles, texts and conditions, no deeper than this."""
    ints = st.sampled_from(
        INT_FIELDS + INTS + [f"size({each})" for each in LISTS + TEXT_FIELDS[:6]]
    )
    doubles, texts = st.sampled_from(DOUBLES), st.sampled_from(TEXT_FIELDS + TEXTS)
    conditions = st.sampled_from(
        ["true", "false", "request.batch", '"team" in principal.labels',
         "has(principal.labels.service)", '"ci" in workspace.services', "has(spend.daily)"]
    )  # fmt: skip
    for _ in range(depth):
        ordered = ["==", "!=", "<", "<=", ">", ">="]
        chosen = st.builds("({} ? {} : {})".format, conditions, ints, ints)
        new_ints = binary(["+", "-", "*"], ints) | divided(ints, ["7", "-3", "1000"]) | chosen
        new_doubles = binary(["+", "-", "*"], doubles) | divided(doubles, ["0.5", "-3.0"])
        new_texts = (
            binary(["+"], texts)
            | st.builds("({} ? {} : {})".format, conditions, texts, texts)
            | st.builds("{}{}".format, texts, st.sampled_from(TEXT_CALLS))
        )
        split = st.builds("{}.split({})".format, texts, st.sampled_from(SEPARATORS))
        new_conditions = (
            binary(ordered, ints)
            | binary(ordered, doubles)
            | binary(["==", "!=", "<", ">="], texts)
            | binary(["&&", "||"], conditions)
            | st.builds("!({})".format, conditions)
            | st.builds("({} in {})".format, texts, st.sampled_from(LISTS) | split)
            | st.builds("({} == {})".format, split, split | st.sampled_from(LISTS))
            | st.builds("{}.exists(n, n.trim() == {})".format, split, texts)
            | st.builds("{}.{}({})".format, new_texts | st.sampled_from(TEXT_FIELDS[:9]),
                        st.sampled_from(["contains", "startsWith", "endsWith"]), texts)
            | st.builds("{}.{}(n, n {} {})".format, st.sampled_from(LISTS),
                        st.sampled_from(["all", "exists", "exists_one"]),
                        st.sampled_from(["==", "!="]), texts)
            | st.builds("({}.filter(n, n.startsWith({})).size() > 0)".format,
                        st.sampled_from(LISTS), texts).map(lambda s: s.replace(".size() > 0", " != []"))
            | st.builds("({} ? {} : {})".format, conditions, conditions, conditions)
            | binary(ordered, st.sampled_from([*TIMES, 'timestamp("2026-11-10T00:00:00Z")']))
            | st.builds('({} - {} {} duration("2160h"))'.format, st.sampled_from(TIMES),
                        st.sampled_from(TIMES), st.sampled_from(ordered))
            | st.builds("({}.getHours({}) {} {})".format, st.sampled_from(TIMES),
                        st.sampled_from(['"UTC"', '"Europe/Paris"', '"Asia/Kolkata"']),
                        st.sampled_from(ordered), ints)
        )  # fmt: skip
        ints, doubles, texts, conditions = (
            ints | new_ints, doubles | new_doubles, texts | new_texts, conditions | new_conditions
        )  # fmt: skip
    return ints, doubles, texts, conditions


INT, DOUBLE, TEXT, CONDITION = typed(3)

# -- calls --------------------------------------------------------------------

names = st.sampled_from(
    ["", "ml", "ada", "*", "mistral-small", "é✓", 'a"b', "it's", "CHAT", "ci", "ml,ops", ",a,, b",
     " \u3000é\x1f", "a\0b"]
)  # fmt: skip
several = st.lists(names, max_size=3)
counts = st.sampled_from([0, 1, 2, 500, 10**9, 2**63 - 1])
labels = st.dictionaries(st.sampled_from(["team", "service", "x"]), names, max_size=3)


moments = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def calls(draw: st.DrawFn) -> Values:
    """Draw the policy input of a call."""
    request = policy_pb.Request(
        model=draw(names), endpoint=draw(names), region=draw(names), batch=draw(st.booleans()),
        input_tokens=draw(counts), max_output_tokens=draw(counts), choices=draw(counts),
        tokens=draw(counts), pages=draw(counts),
    )  # fmt: skip
    principal = pb.Principal(id=draw(names), role=draw(names), labels=draw(labels))
    role = policy_pb.Role(
        name=draw(names), allowed_models=draw(several), max_tokens_per_request=draw(counts)
    )
    workspace = policy_pb.Workspace(
        name=draw(names), allowed_models=draw(several), requests_per_minute=draw(counts),
        monthly_budget_usd=draw(st.sampled_from([0.0, 0.1, 50.0, float("inf")])),
        services={draw(names): policy_pb.Service(allowed_models=draw(several))},
    )  # fmt: skip
    model = policy_pb.Model(
        id=draw(names), family=draw(names), names=draw(several), aliases=draw(several)
    )
    now = draw(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)))  # noqa: DTZ001
    spend = (
        {"daily": policy_pb.Spend(used=draw(counts), fraction=0.5)} if draw(st.booleans()) else {}
    )
    key = policy_pb.Key(
        state=draw(names), allowed_models=draw(several), requests_per_minute=draw(counts),
        created=draw(st.none() | moments), expires=draw(moments | st.just(NEVER)),
    )  # fmt: skip
    return Values(
        request, principal, role, workspace, model, key,
        now.replace(tzinfo=UTC), now.date().isoformat(), spend,
    )  # fmt: skip
