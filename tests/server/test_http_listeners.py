"""Every HTTP listener gets every kind of HTTP, and what only looks like it."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.http_calls import connect
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


def exchanged(where: str, sent: bytes) -> bytes:
    """Send bytes and close that direction; return what comes until the other side closes.

    It closes: reading without end would raise TimeoutError.
    """
    found = b""
    with connect(where) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(1)
            while part := connection.recv(65_536):
                found += part
        except ConnectionError:  # bytes that were not read reset the connection
            pass
    return found


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


TOKENS = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"CONNECT", b"OPTIONS", b"PRI", b"TRACE", b"head", b"G\x00T", b""]
)
TARGETS = st.sampled_from(
    [b"/metrics", b"/access/v1/evaluation", b"/access/v1/evaluations",
     b"/.well-known/authzen-configuration", b"*", b"a:1", b"http://a/metrics", b"/\xff", b""]
)  # fmt: skip
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b""])
HEADERS = st.tuples(
    st.sampled_from(
        [b"Host", b"Content-Length", b"Transfer-Encoding", b"Expect", b"Connection", b"Upgrade",
         b"Content-Type", b"Content-Encoding", b"X-Request-ID", b"Origin", b"Authorization",
         b"traceparent", b"a b", b""]
    ),
    st.sampled_from(
        [b"0", b"1", b"2", b"999999", b"-1", b"1, 1", b"chunked", b"gzip, chunked", b"identity",
         b"100-continue", b"close", b"keep-alive", b"websocket", b"application/json", b"Bearer x",
         b"x" * 300, b"x" * 20_000, b"\xff\xfe", b"a\x0bb", b"a\r\n b", b""]
    ) | st.binary(max_size=8),
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"{}", b"[" * 5000, b"1\r\n{\r\n0\r\n\r\n", b"0\r\n\r\n", b"ffffffffff\r\n",
     b'{"subject": 1, "evaluations": [{}]}', b"\x00" * 70_000]
) | st.binary(max_size=64)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a request, near enough to a valid one to get far; some are cut short."""
    line = b" ".join((draw(TOKENS), draw(TARGETS), draw(VERSIONS)))
    headers = draw(st.lists(HEADERS, max_size=5))
    lines = [line, b"Host: a", *(name + b": " + value for name, value in headers)]
    sent = b"\r\n".join(lines) + b"\r\n\r\n" + draw(BODIES)
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
