"""What responses of Mistral's said was used, and what each has to cost, worked out by hand.

The counts are as they were recorded; the shapes are those of the public API. The prices
are those of `policies/models.yaml`, in nano-USD for each token, page, second or call.
"""

from typing import Any, NamedTuple

MEDIUM_IN, MEDIUM_OUT = 1500, 7500
SMALL_IN, SMALL_OUT = 150, 600
LARGE_IN, LARGE_OUT = 500, 1500
MINISTRAL_8B = 150
EMBED = 100
CODESTRAL_IN, CODESTRAL_OUT = 300, 900
OCR_3_PAGE, OCR_4_PAGE = 2_000_000, 4_000_000
OCR_3_ANNOTATED_PAGE, OCR_4_ANNOTATED_PAGE = 3_000_000, 5_000_000
WEB_SEARCH = 30_000_000
AUDIO_SECOND = 50_000
TINY = 250
MAGISTRAL_IN, MAGISTRAL_OUT = 2000, 5000

MORE_MODELS = {
    "mistral-tiny": "[{effective_from: 2023-12-11, input_usd_per_million_tokens: 0.25,"
    " output_usd_per_million_tokens: 0.25}]",
    "magistral-medium-2507": "[{effective_from: 2025-07-24, input_usd_per_million_tokens: 2,"
    " output_usd_per_million_tokens: 5}]",
    "searching-1": "[{effective_from: 2026-08-21, input_usd_per_million_tokens: 1.5,"
    " output_usd_per_million_tokens: 7.5, usd_per_thousand_calls: {web_search: 30}}]",
    "voxtral-mini-latest": "[{effective_from: 2026-08-21, usd_per_minute_of_audio: 0.003}]",
}
"""Models that the shipped price list may not have."""


class Recorded(NamedTuple):
    """One response, as JSON, and the nano-USD that it is charged."""

    name: str
    endpoint: str
    model: str
    response: dict[str, Any]
    charge: int
    batch: bool = False
    tokens: int = 0
    """What a limit on tokens counts."""


RECORDED = [
    Recorded(
        "an agent without connectors", "CHAT", "mistral-medium-latest",
        {"conversation_id": "c", "usage": {
            "prompt_tokens": 384, "completion_tokens": 471, "total_tokens": 855,
            "connector_tokens": None, "connectors": None}},
        384 * MEDIUM_IN + 471 * MEDIUM_OUT, tokens=855,
    ),
    Recorded(
        "a document of 29 pages", "OCR", "mistral-ocr-2512",
        {"pages": [], "usage_info": {"pages_processed": 29, "doc_size_bytes": 3_002_783}},
        29 * OCR_3_PAGE,
    ),
    Recorded(
        "a batch of OCR", "OCR", "mistral-ocr-latest",
        {"pages": [], "usage_info": {"pages_processed": 24, "doc_size_bytes": 12_640_953}},
        24 * OCR_4_PAGE // 2, batch=True,
    ),
    Recorded(
        "a batch of transcriptions, whose total has the audio", "TRANSCRIPTION",
        "voxtral-mini-latest",
        {"text": "", "usage": {
            "prompt_tokens": 4, "completion_tokens": 634, "total_tokens": 3263,
            "prompt_audio_seconds": 203}},
        203 * AUDIO_SECOND // 2, batch=True,
    ),
    Recorded(
        "a transcription", "TRANSCRIPTION", "voxtral-mini-latest",
        {"text": "", "usage": {
            "prompt_audio_seconds": 203, "prompt_tokens": 7, "total_tokens": 938,
            "completion_tokens": 931, "request_count": 1, "num_cached_tokens": 0}},
        203 * AUDIO_SECOND,
    ),
    Recorded(
        "chat with nothing cached", "CHAT", "mistral-small-latest",
        {"usage": {
            "prompt_tokens": 11, "total_tokens": 172, "completion_tokens": 161,
            "prompt_tokens_details": {"cached_tokens": 0}}},
        11 * SMALL_IN + 161 * SMALL_OUT, tokens=172,
    ),
    Recorded(
        "embeddings", "EMBEDDINGS", "mistral-embed",
        {"data": [], "usage": {
            "prompt_audio_seconds": None, "prompt_tokens": 15, "total_tokens": 15,
            "completion_tokens": 0, "request_count": None, "prompt_token_details": None}},
        15 * EMBED, tokens=15,
    ),
    Recorded(
        "chat of the large model", "CHAT", "mistral-large-latest",
        {"usage": {
            "completion_tokens": 36, "prompt_tokens": 4, "total_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 0}}},
        4 * LARGE_IN + 36 * LARGE_OUT, tokens=40,
    ),
    Recorded(
        "chat about images", "CHAT", "mistral-medium-latest",
        {"usage": {
            "completion_tokens": 6, "num_cached_tokens": 0, "prompt_tokens": 68,
            "total_tokens": 74}},
        68 * MEDIUM_IN + 6 * MEDIUM_OUT, tokens=74,
    ),
    Recorded(
        "chat that stops", "CHAT", "ministral-8b-latest",
        {"usage": {"completion_tokens": 6, "prompt_tokens": 28, "total_tokens": 34}},
        (28 + 6) * MINISTRAL_8B, tokens=34,
    ),
    Recorded(
        "chat of a model of 2023", "CHAT", "mistral-tiny",
        {"usage": {"prompt_tokens": 11, "total_tokens": 107, "completion_tokens": 96}},
        (11 + 96) * TINY, tokens=107,
    ),
    Recorded(
        "reasoning, which is output", "CHAT", "magistral-medium-2507",
        {"usage": {"prompt_tokens": 10, "total_tokens": 56, "completion_tokens": 46}},
        10 * MAGISTRAL_IN + 46 * MAGISTRAL_OUT, tokens=56,
    ),
    Recorded(
        "an agent that searched the web", "CHAT", "mistral-medium-latest",
        {"conversation_id": "c", "usage": {
            "prompt_tokens": 188, "completion_tokens": 55, "connector_tokens": 7112,
            "total_tokens": 7355}},
        (188 + 7355 - 188 - 55) * MEDIUM_IN + 55 * MEDIUM_OUT, tokens=7355,
    ),
    Recorded(
        "an agent whose searches are billed by the call", "CHAT", "searching-1",
        {"conversation_id": "c", "usage": {
            "prompt_tokens": 188, "completion_tokens": 55, "connector_tokens": 7112,
            "total_tokens": 7355, "connectors": {"web_search": 2}}},
        7300 * MEDIUM_IN + 55 * MEDIUM_OUT + 2 * WEB_SEARCH, tokens=7355,
    ),
    Recorded(
        "a document that was annotated", "OCR", "mistral-ocr-latest",
        {"pages": [], "usage_info": {"pages_processed": 0, "pages_processed_annotation": 8}},
        8 * OCR_4_ANNOTATED_PAGE,
    ),
    Recorded(
        "a batch of OCR, of which some pages were annotated", "OCR", "mistral-ocr-2512",
        {"pages": [], "usage_info": {
            "pages_processed": 3, "pages_processed_annotation": 2, "doc_size_bytes": 4096}},
        (3 * OCR_3_PAGE + 2 * OCR_3_ANNOTATED_PAGE) // 2, batch=True,
    ),
    Recorded(
        "the last event of a conversation", "CHAT", "mistral-small-latest",
        {"event": "conversation.response.done", "data": {"usage": {
            "prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}}},
        20 * SMALL_IN + 30 * SMALL_OUT, tokens=50,
    ),
    Recorded(
        "names of a responses API", "CHAT", "mistral-small-latest",
        {"usage": {
            "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens_details": {"reasoning_tokens": 12}}},
        40 * SMALL_IN + 60 * SMALL_IN // 10 + 20 * SMALL_OUT, tokens=120,
    ),
    Recorded(
        "a line of a batch's output", "CHAT", "mistral-small-latest",
        {"id": "1", "custom_id": "0", "error": None, "response": {"status_code": 200, "body": {
            "model": "mistral-small-latest", "choices": [], "usage": {
                "prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}}}},
        (40 * SMALL_IN + 10 * SMALL_OUT) // 2, batch=True, tokens=50,
    ),
    Recorded(
        "a line of a batch of OCR", "OCR", "mistral-ocr-2512",
        {"custom_id": "0", "response": {"status_code": 200, "body": {
            "pages": [], "usage_info": {"pages_processed": 7, "doc_size_bytes": 9}}}},
        7 * OCR_3_PAGE // 2, batch=True,
    ),
    Recorded(
        "an object of the SDK for TypeScript", "CHAT", "mistral-small-latest",
        {"usage": {"promptTokens": 9, "completionTokens": 4, "totalTokens": 13}},
        9 * SMALL_IN + 4 * SMALL_OUT, tokens=13,
    ),
    Recorded(
        "code in the middle", "FIM", "codestral-latest",
        {"usage": {"prompt_tokens": 8, "completion_tokens": 91, "total_tokens": 99}},
        8 * CODESTRAL_IN + 91 * CODESTRAL_OUT, tokens=99,
    ),
    Recorded(
        "moderation, which is free", "MODERATION", "mistral-moderation-2603",
        {"results": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        0, tokens=8,
    ),
]  # fmt: skip
