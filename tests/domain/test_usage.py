"""Mistral's usage objects, as they come from every endpoint."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.prices import Terms
from sidecar.domain.usage import (
    BY_TOKENS,
    MAX_COUNT,
    Endpoint,
    Usage,
    UsageReport,
    tool_calls_of,
)
from sidecar.domain.usage_json import MAX_UNKNOWN_NAMES, parse_usage_json
from sidecar.domain.worst_case import worst_case

REPORTS = [
    ("chat", {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
     UsageReport(9, 4, total_tokens=13)),
    ("embeddings, whose total is 0", {"prompt_tokens": 9, "total_tokens": 0},
     UsageReport(9, total_tokens=0)),
    ("cached input", {"prompt_tokens": 9, "completion_tokens": 1,
     "prompt_tokens_details": {"cached_tokens": 6}}, UsageReport(9, 1, 6)),
    ("cached input, second spelling", {"prompt_tokens": 9,
     "prompt_token_details": {"cached_tokens": 6}}, UsageReport(9, None, 6)),
    ("cached input, third spelling", {"prompt_tokens": 9, "num_cached_tokens": 6},
     UsageReport(9, None, 6)),
    ("tier", {"prompt_tokens": 9, "service_tier": "priority"}, UsageReport(9, service_tier="priority")),
    ("audio", {"prompt_audio_seconds": 61, "prompt_tokens": 3}, UsageReport(3, audio_seconds=61)),
    ("a part of a second", {"prompt_audio_seconds": 60.2}, UsageReport(audio_seconds=61)),
    ("OCR", {"pages_processed": 3, "doc_size_bytes": 900}, UsageReport(pages=3)),
    ("a whole response", {"id": "x", "model": "m", "usage": {"prompt_tokens": 2}}, UsageReport(2)),
    ("a whole OCR response", {"pages": [], "usage_info": {"pages_processed": 2}}, UsageReport(pages=2)),
    ("annotated pages", {"pages_processed": 0, "pages_processed_annotation": 8},
     UsageReport(pages=0, annotated_pages=8)),
    ("calls of connectors", {"prompt_tokens": 9, "connectors": {"web_search": 2, "code": 0}},
     UsageReport(9, tool_calls=(("web_search", 2),))),
    ("no calls of connectors", {"connectors": {}}, UsageReport(tool_calls=())),
    ("connectors that are none", {"connectors": {"": 1}}, UsageReport()),
    ("connectors that are no counts", {"connectors": {"web_search": "2"}}, UsageReport()),
    ("too many connectors", {"connectors": {f"tool-{n}": 1 for n in range(33)}}, UsageReport()),
    ("fields of the future", {"prompt_tokens": 1, "brand_new": {"x": [1]}}, UsageReport(1)),
    ("names of a responses API", {"input_tokens": 9, "output_tokens": 4,
     "input_tokens_details": {"cached_tokens": 6}}, UsageReport(9, 4, 6)),
    ("a line of a batch's output", {"custom_id": "0", "response": {"status_code": 200, "body":
     {"model": "m", "usage": {"prompt_tokens": 2}}}}, UsageReport(2)),
    ("an event of a stream", {"event": "done", "data": {"usage": {"prompt_tokens": 2}}},
     UsageReport(2)),
    ("camel case", {"usageInfo": {"pagesProcessed": 2}}, UsageReport(pages=2)),
    ("camel case, where 0 is filled in", {"usage": {"promptTokens": 0, "completionTokens": 4}},
     UsageReport(None, 4)),
    ("optional parts of a wrong type", {"prompt_tokens": 1, "prompt_audio_seconds": {},
     "total_tokens": "9", "service_tier": 1, "prompt_tokens_details": [], "num_cached_tokens": ""},
     UsageReport(1)),
    ("one spelling of a wrong type", {"prompt_tokens_details": 1, "num_cached_tokens": 6},
     UsageReport(cached_input_tokens=6)),
    ("nulls", {"prompt_tokens": None, "prompt_tokens_details": None}, UsageReport()),
    ("moderation, which has none", {}, UsageReport()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "expected"), [r[1:] for r in REPORTS], ids=[r[0] for r in REPORTS]
)
def test_usage_is_parsed_in_all_its_forms(
    document: dict[str, object], expected: UsageReport
) -> None:
    """Each endpoint's object, and each spelling, is understood."""
    assert expected == parse_usage_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is larger than"),
        ("[" * 60_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ('"usage"', "is not a JSON object"),
        ('{"prompt_tokens": -1}', "prompt_tokens is not between"),
        ('{"completion_tokens": 9223372036854775807}', "completion_tokens is not between"),
        ('{"prompt_tokens": "5"}', "prompt_tokens is not a number"),
        ('{"prompt_tokens": true}', "prompt_tokens is not a number"),
        ('{"prompt_tokens": NaN}', "prompt_tokens is not between"),
        ('{"prompt_tokens": 1e400}', "prompt_tokens is not between"),
        ('{"num_cached_tokens": -3}', "cached_tokens is not between"),
        ('{"connectors": {"web_search": -2}}', "connectors is not between"),
        ('{"pages_processed_annotation": -2}', "pages_processed_annotation is not between"),
        ('{"pages_processed": [3]}', "pages_processed is not a number"),
    ],
)
def test_an_invalid_usage_is_refused_without_its_value(text: str, problem: str) -> None:
    """The error names the field alone."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_usage_json(text)
    assert "9223372036854775807" not in str(caught.value)


@pytest.mark.property
@given(st.text(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["usage", "prompt_tokens", "prompt_tokens_details", "cached_tokens"]),
        inner, max_size=3),
).map(json.dumps))  # fmt: skip
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """The result is counts within bounds, or a ValueError."""
    try:
        report = parse_usage_json(text)
    except ValueError:
        return
    counts = (report.input_tokens, report.output_tokens, report.cached_input_tokens)
    assert all(count is None or 0 <= count <= MAX_COUNT for count in counts)


def test_what_a_report_leaves_out_is_charged_as_held() -> None:
    """L5: a count that is not known is taken for the worst case; a discount is not assumed."""
    held = Usage(input_tokens=100, output_tokens=50, pages=2, audio_seconds=9)
    assert held == UsageReport().completed(Endpoint.CHAT, held)
    assert Usage(7, 50, 0, 2, 9) == UsageReport(input_tokens=7).completed(Endpoint.CHAT, held)


def test_tokens_count_only_where_they_are_held() -> None:
    """A transcription is billed by the minute: the tokens it reports are no overrun."""
    held = Usage(audio_seconds=60)
    report = UsageReport(4, 9, audio_seconds=30)
    assert report.completed(Endpoint.TRANSCRIPTION, held) == Usage(audio_seconds=30)


ALL_UNITS = Usage(
    pages=2, audio_seconds=9, characters=30, annotated_pages=4, tool_calls=(("web_search", 3),)
)


@pytest.mark.parametrize("endpoint", [e for e in Endpoint if e not in BY_TOKENS])
def test_every_unit_left_out_is_charged_as_held(endpoint: Endpoint) -> None:
    """L5: also where tokens are not counted; a reported count replaces the held one."""
    assert UsageReport().completed(endpoint, ALL_UNITS) == ALL_UNITS
    report = UsageReport(
        pages=1, audio_seconds=0, characters=7, annotated_pages=0, tool_calls=(("images", 1),)
    )
    assert report.completed(endpoint, ALL_UNITS) == Usage(
        pages=1, characters=7, tool_calls=(("images", 1),)
    )


def test_tools_that_a_report_does_not_name_were_not_called() -> None:
    """L5: only a report without any tool leaves them out; a count of 0 is one."""
    assert UsageReport(tool_calls=()).completed(Endpoint.CHAT, ALL_UNITS).tool_calls == ()
    assert tool_calls_of({"b": 2, "a": 1, "none": 0}) == (("a", 1), ("b", 2))


def test_a_realtime_sessions_tokens_count_where_its_hold_has_some() -> None:
    """Most are billed by audio alone, and their tokens are no overrun."""
    report = UsageReport(4, 9, 3, audio_seconds=30)
    by_audio, by_both = Usage(audio_seconds=60), Usage(10, 20, audio_seconds=60)
    assert report.completed(Endpoint.REALTIME, by_audio) == Usage(audio_seconds=30)
    assert report.completed(Endpoint.REALTIME, by_both) == Usage(4, 9, 3, audio_seconds=30)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (UsageReport(188, 55, total_tokens=7355), Usage(7300, 55)),
        (UsageReport(188, 55, 100, total_tokens=7355), Usage(7300, 55, 100)),
        (UsageReport(188, 55, 300, total_tokens=7355), Usage(7300, 55, 188)),
        (UsageReport(188, 55, total_tokens=243), Usage(188, 55)),
        (UsageReport(188, 55, total_tokens=0), Usage(188, 55)),
        (UsageReport(188, total_tokens=7355), Usage(6355, 1000)),
        (UsageReport(188, total_tokens=1100), Usage(188, 1000)),
        (UsageReport(4, 9, audio_seconds=30, total_tokens=900), Usage(4, 9, audio_seconds=30)),
    ],
)
def test_tokens_of_a_total_beyond_its_parts_are_input(report: UsageReport, expected: Usage) -> None:
    """Once, not cached, and not where it is the audio, which is billed by time."""
    assert report.completed(Endpoint.CHAT, Usage(500, 1000)) == expected


def test_a_total_is_ignored_where_tokens_are_not_billed() -> None:
    """A transcription's total has its audio in it."""
    report = UsageReport(4, 634, total_tokens=3263, audio_seconds=203)
    held = Usage(audio_seconds=600)
    assert report.completed(Endpoint.TRANSCRIPTION, held) == Usage(audio_seconds=203)


def test_a_report_keeps_the_names_that_it_does_not_understand() -> None:
    """Counts alone, and so many at most; parts of a wrong type beside them."""
    usage = {"prompt_tokens": 1, "text": "x", "flag": True, "credits": 0.5, "total_tokens": []}
    report = parse_usage_json(json.dumps(usage))
    assert (report.unknown_names, report.mistyped_names) == (("credits",), ("total_tokens",))
    many = parse_usage_json(json.dumps({f"n{number}": 1 for number in range(999)}))
    assert len(many.unknown_names) == MAX_UNKNOWN_NAMES


@pytest.mark.parametrize(
    ("usage", "held", "expected"),
    [
        ({"pages_processed": 0}, (0, 8), (0, 8)),
        ({"pages_processed": 8}, (0, 8), (0, 8)),
        ({"pages_processed": 10}, (0, 8), (2, 8)),
        ({"pages_processed": 5}, (5, 3), (5, 3)),
        ({"pages_processed": 8}, (5, 3), (5, 3)),
        ({"pages_processed": 8, "pages_processed_annotation": 8}, (0, 8), (8, 8)),
        ({"pages_processed": 9}, (5, 0), (9, 0)),
    ],
)
def test_l5_annotated_pages_that_are_not_counted_are_charged_as_held(
    usage: dict[str, int], held: tuple[int, int], expected: tuple[int, int]
) -> None:
    """L5: and none of them is charged as a plain page too, unless the response says so."""
    report = parse_usage_json(json.dumps(usage))
    used = report.completed(Endpoint.OCR, Usage(pages=held[0], annotated_pages=held[1]))
    assert (used.pages, used.annotated_pages) == expected


def test_a_discount_never_exceeds_the_input() -> None:
    """More cached tokens than input tokens would make a call cheaper than free."""
    assert UsageReport(5, 1, 900).completed(Endpoint.CHAT, Usage()).cached_input_tokens == 5


@pytest.mark.parametrize(
    ("endpoint", "requested", "choices", "role_max_tokens", "expected"),
    [
        (Endpoint.CHAT, 300, 1, 2000, (300, 300)),
        (Endpoint.CHAT, 300, 4, 2000, (300, 1200)),
        (Endpoint.CHAT, 0, 1, 2000, (1900, 1900)),
        (Endpoint.CHAT, 0, 3, 2000, (633, 1899)),
        (Endpoint.FIM, 0, 1, 100, (1, 1)),
        (Endpoint.CHAT, 0, 1, 50, (1, 1)),
        (Endpoint.EMBEDDINGS, 300, 1, 2000, (0, 0)),
        (Endpoint.OCR, 0, 1, None, (0, 0)),
        (Endpoint.SPEECH, 300, 1, None, (0, 0)),
        (Endpoint.REALTIME, 0, 1, None, (0, 0)),
        (Endpoint.REALTIME, 300, 1, None, (300, 300)),
        (Endpoint.CHAT, 0, 1, None, None),
    ],
)
def test_the_worst_case_of_a_call(
    endpoint: Endpoint,
    requested: int,
    choices: int,
    role_max_tokens: int | None,
    expected: tuple[int, int] | None,
) -> None:
    """Output is max_output_tokens × choices; the role fills in what was left out."""
    size = worst_case(
        endpoint,
        input_tokens=100,
        requested_output_tokens=requested,
        choices=choices,
        pages=0,
        audio_seconds=0,
        terms=Terms(),
        role_max_tokens=role_max_tokens,
    )
    assert expected == (size and (size.max_output_tokens, size.most.output_tokens))
