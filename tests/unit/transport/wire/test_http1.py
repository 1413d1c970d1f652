import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.base.limits import MAX_HEADER_BYTES, MAX_HEADER_COUNT, MAX_TARGET_BYTES, MAX_UNREAD_BODY_BYTES
from relay.transport.wire.events import BodyEnd, BodyPiece, RequestHead, ResponseHead, StreamGoneError, WireError
from relay.transport.wire.http1 import Http1
from tests.fakes.wires import cut, listen_to

GET = b"GET /a?b=%20 HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\n\r\n"
)


class Sent(bytes):
    """Bytes that are shown short: some are larger than a report should be."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, {bytes(self[:30])!r}...>"


HOSTILE = st.sampled_from(
    [
        Sent(sent)
        for sent in (
            GET,
            PUT,
            CHUNKED,
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX" + b"y" * MAX_HEADER_BYTES,
            b"GET /" + b"y" * (MAX_TARGET_BYTES + 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * (MAX_HEADER_COUNT + 1) + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n x: folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nx: \x00\r\n\r\n",
        )
    ]
)


@example([Sent(b"GET / HTTP/1.1\r\nHost: a\r\nX" + b"y" * MAX_HEADER_BYTES), GET], b"", [MAX_HEADER_BYTES + 1])
@given(st.lists(HOSTILE, min_size=1, max_size=2), st.binary(max_size=8), st.lists(st.integers(0, 40_000), max_size=4))
def test_how_bytes_are_split_never_matters(parts: list[bytes], tail: bytes, places: list[int]) -> None:
    data = b"".join(parts) + tail
    whole, halves = Http1(server=True), Http1(server=True)
    understood, in_pieces = listen_to(whole, [data]), listen_to(halves, cut(data, places))
    # An error ends everything: what was understood of the same bytes before it is nobody's concern.
    assert understood.error == in_pieces.error
    assert whole.take() == halves.take()
    if not understood.error:
        assert understood == in_pieces


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1", b"\x16GET / HTTP/1.1"])
@pytest.mark.parametrize("more", [0, 1, 2, 3, 60])
def test_a_head_of_about_the_limit_is_taken_or_refused_however_it_is_split(first: bytes, more: int) -> None:
    head = first + b"\r\nHost: a\r\nX: " + b"y" * MAX_HEADER_BYTES
    head = head[: MAX_HEADER_BYTES + more - 4] + b"\r\n\r\n"
    whole, halves = Http1(server=True), Http1(server=True)
    understood, in_pieces = listen_to(whole, [head]), listen_to(halves, cut(head, [len(head) - 1]))
    assert understood.error == in_pieces.error
    assert whole.take() == halves.take()
    assert understood.error == ("malformed" if first[0] == 0x16 else "headers_too_large" if more > 1 else "")


@given(st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_a_response_is_understood_however_it_is_split(places: list[int], chunked: bool) -> None:
    client, server = Http1(server=False), Http1(server=True)
    stream = client.request("PUT", "/a", [(b"host", b"a"), (b"content-length", b"2")], ended=False)
    client.send(stream, memoryview(b"hi"), ended=True)
    assert listen_to(server, [client.take()]).bodies == {1: b"hi"}
    server.respond(1, 201, [] if chunked else [(b"content-length", b"10")], ended=False)
    server.send(1, memoryview(b"01234"), ended=False)
    server.send(1, memoryview(b"56789"), ended=True)
    understood = listen_to(client, cut(server.take(), places))
    assert understood.heads[1][0] == 201
    assert understood.bodies == {1: b"0123456789"}
    assert understood.complete == {1}
    client.proceed()
    assert client.open_for_more


def test_a_request_without_a_body_ends_with_its_head() -> None:
    assert Http1(server=True).receive(GET, 0.0) == [
        RequestHead(1, "GET", "/a?b=%20", [(b"host", b"a.example"), (b"x-a", b"1")], ended=True)
    ]


def test_a_pipelined_request_waits_for_the_first_answer() -> None:
    wire = Http1(server=True)
    assert len(wire.receive(GET + PUT, 0.0)) == 1
    wire.respond(1, 204, [], ended=True)
    head, piece, end = wire.proceed()
    assert isinstance(head, RequestHead)
    assert head.stream == 2
    assert piece == BodyPiece(2, b"hello", 5)
    assert end == BodyEnd(2)


def test_pipelined_requests_beyond_the_bound_are_not_read() -> None:
    wire = Http1(server=True)
    wire.receive(GET, 0.0)
    assert wire.wants_input
    wire.receive(PUT * (MAX_UNREAD_BODY_BYTES // len(PUT) + 1), 0.0)
    assert not wire.wants_input


def test_an_unread_body_stops_the_reading_until_it_is_consumed() -> None:
    wire = Http1(server=True)
    wire.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 0.0)
    wire.receive(b"x" * MAX_UNREAD_BODY_BYTES, 0.0)
    assert not wire.wants_input
    wire.consumed(1, 1)
    assert wire.wants_input


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * MAX_HEADER_COUNT + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * MAX_HEADER_BYTES, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"y" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target_too_large"),
        (b"what?\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed"),
    ],
)
def test_each_limit_has_its_answer(data: bytes, status: int, reason: str) -> None:
    wire = Http1(server=True)
    with pytest.raises(WireError) as caught:
        wire.receive(data, 0.0)
    assert caught.value.reason == reason
    answer = wire.take()
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in answer.lower()
    assert not wire.open_for_more


def test_at_the_limits_requests_pass() -> None:
    headers = b"x: y\r\n" * (MAX_HEADER_COUNT - 1)
    target = b"/" + b"y" * (MAX_TARGET_BYTES - 1)
    (head,) = Http1(server=True).receive(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert len(head.headers) == MAX_HEADER_COUNT
    assert len(head.target) == MAX_TARGET_BYTES


@pytest.mark.parametrize(("length", "pending"), [(0, False), (1, True), (20, True), (len(PUT) - 1, False)])
def test_a_half_head_is_pending_and_a_half_body_is_not(length: int, pending: bool) -> None:
    wire = Http1(server=True)
    if length:
        wire.receive(PUT[:length], 0.0)
    assert wire.head_pending == pending


def test_a_head_that_does_not_come_in_time_is_answered_408() -> None:
    wire = Http1(server=True)
    wire.receive(PUT[:20], 0.0)
    wire.time_out()
    assert wire.take().startswith(b"HTTP/1.1 408")


def test_100_continue_is_said_once_and_only_when_waited_for() -> None:
    wire = Http1(server=True)
    wire.receive(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", 0.0)
    wire.allow_body(1)
    wire.allow_body(1)
    assert wire.take() == b"HTTP/1.1 100 \r\n\r\n"
    other = Http1(server=True)
    other.receive(PUT, 0.0)
    other.allow_body(1)
    assert other.take() == b""


def test_an_absolute_target_is_read_as_its_path() -> None:
    for target, path in ((b"http://a.example/x?y", "/x?y"), (b"http://a.example", "/"), (b"*", "*")):
        (head,) = Http1(server=True).receive(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)
        assert isinstance(head, RequestHead)
        assert head.target == path


def test_an_answer_before_the_body_is_complete_ends_the_connection() -> None:
    wire = Http1(server=True)
    wire.receive(PUT[:-1], 0.0)
    wire.respond(1, 413, [(b"content-length", b"0")], ended=True)
    assert wire.proceed() == []
    assert not wire.open_for_more


def test_closing_is_announced_in_the_next_answer() -> None:
    wire = Http1(server=True)
    wire.receive(GET, 0.0)
    wire.close()
    wire.respond(1, 200, [(b"content-length", b"0")], ended=True)
    assert b"close" in wire.take()
    assert wire.proceed() == []
    assert not wire.open_for_more


def test_a_body_that_breaks_its_announced_length_breaks_the_connection() -> None:
    wire = Http1(server=True)
    wire.receive(GET, 0.0)
    wire.respond(1, 200, [(b"content-length", b"3")], ended=False)
    with pytest.raises(StreamGoneError):
        wire.send(1, memoryview(b"four"), ended=True)
    assert not wire.open_for_more


def test_a_head_that_is_none_is_not_sent() -> None:
    wire = Http1(server=True)
    wire.receive(GET, 0.0)
    with pytest.raises(StreamGoneError):
        wire.respond(1, 200, [(b"bad name", b"x")], ended=True)
    assert wire.take() == b""
    assert not wire.open_for_more


def test_writing_to_another_exchange_or_after_a_reset_is_refused() -> None:
    wire = Http1(server=True)
    wire.receive(GET, 0.0)
    with pytest.raises(StreamGoneError):
        wire.respond(2, 200, [], ended=True)
    wire.reset(1)
    with pytest.raises(StreamGoneError):
        wire.respond(1, 200, [], ended=True)


def test_a_response_cut_short_is_an_error() -> None:
    client = Http1(server=False)
    client.request("GET", "/", [(b"host", b"a")], ended=True)
    (head, _) = client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 0.0)
    assert head == ResponseHead(1, 200, [(b"content-length", b"5")], ended=False)
    with pytest.raises(WireError):
        client.receive(b"", 0.0)


def test_an_answer_nobody_asked_for_is_an_error() -> None:
    with pytest.raises(WireError):
        Http1(server=False).receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0.0)


def test_bytes_behind_an_answer_end_the_connection_after_it() -> None:
    client = Http1(server=False)
    stream = client.request("GET", "/", [(b"host", b"a")], ended=True)
    (head,) = client.receive(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0.0)
    assert head == ResponseHead(stream, 204, [], ended=True)
    client.proceed()
    assert not client.open_for_more
