"""Every HTTP listener gets every kind of HTTP, and what only looks like it."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from siege import http_requests
from siege.http_requests import exchanged
from support.outside import METRICS, address
from support.policies import SHIPPED
from support.sidecar_process import RunningSidecar

LISTENERS = ("AUTHZEN", "metrics")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """A sidecar with every HTTP listener, in whose log no error may be."""
    ledger = tmp_path_factory.mktemp("http") / "ledger.sqlite"
    args = (*METRICS, "--authzen-listen", "127.0.0.1:0")
    one = RunningSidecar(SHIPPED, ledger, args).start()
    yield one
    assert one.stop() == 0
    assert re.findall(r".*(?:rror|Traceback|xception).*", one.log) == []


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: 999999", b"", 413),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked", b"zz\r\n", 400),
    ],
    ids=["long", "ambiguous", "broken"],
)
def test_a_refused_head_has_no_content(
    listener: str, head: bytes, body: bytes, status: int, running: RunningSidecar
) -> None:
    """HEAD with a body that is refused gets a status and no content, like any other HEAD."""
    sent = b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + body
    answer, _, content = exchanged(address(running, listener), sent).partition(b"\r\n\r\n")
    assert answer.split(b" ")[1:2] == [b"%d" % status]
    assert content == b""


HEADERS = st.tuples(
    st.sampled_from(http_requests.NAMES),
    st.sampled_from(http_requests.VALUES) | st.binary(max_size=8),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a request, near enough to a valid one to get far; some are cut short."""
    parts = (http_requests.METHODS, http_requests.TARGETS, http_requests.VERSIONS)
    line = b" ".join(draw(st.sampled_from(part)) for part in parts)
    headers = draw(st.lists(HEADERS, max_size=5))
    bodies = st.sampled_from(http_requests.BODIES) | st.binary(max_size=64)
    lines = [line, b"Host: a", *(name + b": " + value for name, value in headers)]
    sent = b"\r\n".join(lines) + b"\r\n\r\n" + draw(bodies)
    return sent[: draw(st.none() | st.integers(0, len(sent)))]


@settings(max_examples=5 * settings().max_examples)  # each is a millisecond
@given(listener=st.sampled_from(LISTENERS), sent=requests() | st.binary(max_size=200))
@example(listener="AUTHZEN", sent=b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n")
def test_whatever_is_sent_gets_a_response_or_a_closed_connection(
    listener: str, sent: bytes, running: RunningSidecar
) -> None:
    """Nothing is in the log, which the fixture reads at the end, and nothing stays open."""
    answer = exchanged(address(running, listener), sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
