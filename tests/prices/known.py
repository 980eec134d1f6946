"""The differences between the two lists that are known, each with its reason."""

_MOVED = "an alias of a newer model by now; their list has the price of the one before"
_NO_OUTPUT = "embeddings have no output"
_GONE = "retired: neither Mistral's model cards nor LiteLLM's list have it any more"
_OPEN = "an open model as others serve it, by the name that others use"
_OLD = "an old open model, for which the lists have different prices, none of them of today"

KNOWN: dict[tuple[str, str], str] = {
    ("magistral-medium-latest", "input"): _MOVED,
    ("magistral-medium-latest", "output"): _MOVED,
    ("magistral-small-latest", "input"): _MOVED,
    ("magistral-small-latest", "output"): _MOVED,
    ("mistral-large-latest", "input"): _MOVED,
    ("mistral-large-latest", "output"): _MOVED,
    ("mistral-embed", "output"): _NO_OUTPUT,
    ("mistral-embed-2312", "output"): _NO_OUTPUT,
    ("ministral-3b", "missing"): _GONE,
    ("ministral-8b", "missing"): _GONE,
    ("mistral-7b", "missing"): _GONE,
    ("mistral-medium-2312", "missing"): _GONE,
    ("mistral-medium-3-1", "missing"): _GONE,
    ("mistral-saba", "missing"): _GONE,
    ("pixtral-12b", "missing"): _GONE,
    ("mistral-small-24b-instruct-2501", "missing"): _OPEN,
    ("mistral-small-3.1-24b-instruct", "missing"): _OPEN,
    ("mistral-small-3.2-24b-instruct", "missing"): _OPEN,
    ("mixtral-8x22b-instruct", "missing"): _GONE,
    ("mixtral-8x7b", "missing"): _GONE,
    ("mistral-nemo", "missing"): _OLD,
    ("pixtral-large", "missing"): _OLD,
}
