from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_H2_STREAMS, MAX_HEADER_COUNT, MAX_TARGET_BYTES
from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    GoingAway,
    RequestHead,
    ResponseHead,
    RoomGrew,
    StreamGoneError,
    StreamReset,
    WireError,
)
from relay.transport.wire.http2 import Http2
from tests.fakes.wires import cut, listen_to
from tests.unit.transport.wire.test_floods import PING, frame

HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/a?b")]
HOST = [(b"host", b"a.example")]


def peer() -> h2.connection.H2Connection:
    """Return an independent client that has greeted."""
    made = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    made.initiate_connection()
    return made


def script(act: Callable[[h2.connection.H2Connection], None]) -> bytes:
    """Return the bytes of a client that does `act` without reading."""
    client = peer()
    act(client)
    return client.data_to_send()


def meet() -> tuple[Http2, Http2]:
    """Return a client and a server that have greeted each other."""
    client, server = Http2(server=False), Http2(server=True)
    shuttle(client, server)
    return client, server


def shuttle(client: Http2, server: Http2) -> tuple[list[Event], list[Event]]:
    """Carry bytes both ways until there are none; return what the client and the server heard."""
    to_client, to_server = list[Event](), list[Event]()
    while client.unsent_bytes or server.unsent_bytes:
        if client.unsent_bytes:
            to_server += server.receive(client.take(), 0.0)
        if server.unsent_bytes:
            to_client += client.receive(server.take(), 0.0)
    return to_client, to_server


def ask(client: Http2, server: Http2, *, ended: bool = True) -> int:
    stream = client.request("GET" if ended else "PUT", "/a?b", HOST, ended=ended)
    shuttle(client, server)
    return stream


def two_requests(client: h2.connection.H2Connection) -> None:
    client.send_headers(1, HEAD, end_stream=True)
    client.send_headers(3, [(":method", "PUT"), *HEAD[1:], ("x-a", "1")])
    client.send_data(3, b"hello", pad_length=7)
    client.send_headers(5, HEAD)
    client.send_data(3, b"world", end_stream=True)
    client.reset_stream(5)
    client.ping(b"12345678")


@given(st.lists(st.integers(0, 400), max_size=6), st.sampled_from([b"", b"\0", frame(5), frame(1, 4, 1, b"\xff" * 9)]))
def test_how_bytes_are_split_never_matters(places: list[int], tail: bytes) -> None:
    data = script(two_requests) + tail
    whole, halves = Http2(server=True), Http2(server=True)
    understood, in_pieces = listen_to(whole, [data]), listen_to(halves, cut(data, places))
    assert understood.error == in_pieces.error
    if not understood.error:
        assert understood == in_pieces
        assert understood.bodies == {3: b"helloworld"}
        assert understood.complete == {1, 3}
        assert understood.reset == {5}


@given(st.lists(st.integers(0, 400), max_size=6))
def test_a_response_is_understood_however_it_is_split(places: list[int]) -> None:
    client, server = meet()
    stream = ask(client, server)
    server.respond(stream, 200, [(b"x-a", b"1"), (b"connection", b"close")], ended=False)
    server.send(stream, memoryview(b"hello"), ended=False)
    server.send(stream, memoryview(b""), ended=True)
    understood = listen_to(client, cut(server.take(), places))
    assert understood.heads == {stream: (200, ((b"x-a", b"1"),))}
    assert understood.bodies == {stream: b"hello"}
    assert understood.complete == {stream}


def test_an_independent_client_is_understood_and_understands() -> None:
    client, server = peer(), Http2(server=True)
    client.receive_data(server.take())
    client.send_headers(1, HEAD, end_stream=True)
    (head,) = [e for e in server.receive(client.data_to_send(), 0.0) if isinstance(e, RequestHead)]
    assert head == RequestHead(1, "GET", "/a?b", [(b"host", b"a.example")], ended=True)
    server.respond(1, 404, [(b"content-length", b"2")], ended=False)
    server.send(1, memoryview(b"no"), ended=True)
    kinds = [type(event) for event in client.receive_data(server.take())]
    assert h2.events.ResponseReceived in kinds
    assert kinds[-2:] == [h2.events.DataReceived, h2.events.StreamEnded]


def test_no_more_is_sent_than_the_peer_has_room_for() -> None:
    client, server = meet()
    stream = ask(client, server)
    server.respond(stream, 200, [], ended=False)
    body = memoryview(bytes(100_000))
    sent = server.send(stream, body, ended=True)
    assert sent == 65_535
    assert server.send(stream, body[sent:], ended=True) == 0
    heard, _ = shuttle(client, server)
    held = sum(event.held_bytes for event in heard if isinstance(event, BodyPiece))
    assert held == sent
    client.consumed(stream, held)
    _, heard_by_server = shuttle(client, server)
    assert RoomGrew(stream) in heard_by_server
    assert server.send(stream, body[sent:], ended=True) == 100_000 - sent
    heard, _ = shuttle(client, server)
    assert heard[-1] == BodyEnd(stream)


def test_what_nobody_reads_stops_the_sender_and_ends_with_the_stream() -> None:
    client, server = meet()
    stream = ask(client, server, ended=False)
    sent = client.send(stream, memoryview(bytes(70_000)), ended=False)
    shuttle(client, server)
    assert client.send(stream, memoryview(b"x"), ended=False) == 0
    server.respond(stream, 413, [], ended=True)
    heard, _ = shuttle(client, server)
    assert ResponseHead(stream, 413, [], ended=True) in heard
    # Some more is thrown away, then the stream is reset.
    thrown = 0
    while not any(isinstance(event, StreamReset) for event in heard):
        thrown += client.send(stream, memoryview(bytes(10_000)), ended=False)
        heard, heard_by_server = shuttle(client, server)
        assert not any(isinstance(event, BodyPiece) for event in heard_by_server)
    assert 256 * 1024 < thrown < 400 * 1024
    # The connection's window is whole again: another stream may send as much.
    other = ask(client, server, ended=False)
    assert client.send(other, memoryview(bytes(70_000)), ended=False) == sent


def test_an_answer_before_a_short_rest_ends_without_a_reset() -> None:
    client, server = meet()
    stream = ask(client, server, ended=False)
    server.respond(stream, 403, [], ended=True)
    shuttle(client, server)
    client.send(stream, memoryview(b"rest"), ended=True)
    heard, heard_by_server = shuttle(client, server)
    assert heard == heard_by_server == []
    assert server._streams == {}


def test_padding_is_given_back_at_once() -> None:
    def pad(client: h2.connection.H2Connection) -> None:
        client.send_headers(1, HEAD)
        for _ in range(300):
            client.send_data(1, b"x", pad_length=255)

    with pytest.raises(h2.exceptions.FlowControlError):
        script(pad)
    client, server = peer(), Http2(server=True)
    client.send_headers(1, HEAD)
    for _ in range(400):
        client.receive_data(server.take())
        client.send_data(1, b"x", pad_length=255)
        for event in server.receive(client.data_to_send(), 0.0):
            if isinstance(event, BodyPiece):
                assert (event.data, event.held_bytes) == (b"x", 1)


def test_a_refused_stream_may_be_asked_again_and_a_cancelled_one_may_not() -> None:
    client, server = meet()
    first, second = ask(client, server), ask(client, server)
    server.reset(first, refused=True)
    server.reset(second)
    heard, _ = shuttle(client, server)
    assert heard == [StreamReset(first, untouched=True), StreamReset(second, untouched=False)]
    with pytest.raises(StreamGoneError):
        server.respond(first, 200, [], ended=True)
    with pytest.raises(StreamGoneError):
        client.send(first, memoryview(b"x"), ended=True)


def test_after_our_goaway_streams_begun_finish_and_new_ones_are_refused() -> None:
    client, server = meet()
    stream = ask(client, server)
    server.close()
    late = client.request("GET", "/", HOST, ended=True)
    heard, heard_by_server = shuttle(client, server)
    assert heard_by_server == []
    assert GoingAway(stream) in heard
    assert StreamReset(late, untouched=True) in heard
    assert not client.open_for_more
    server.respond(stream, 200, [], ended=True)
    heard, _ = shuttle(client, server)
    assert heard == [ResponseHead(stream, 200, [], ended=True)]


def test_100_continue_is_sent_only_when_waited_for() -> None:
    server = Http2(server=True)
    server.receive(script(lambda c: c.send_headers(1, [*HEAD, ("expect", "100-continue")])), 0.0)
    server.take()
    server.allow_body(1)
    assert server.take()
    server.allow_body(1)
    assert not server.take()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed"),
        (script(lambda c: c.send_headers(1, HEAD)) + frame(9, 4, 1), "malformed"),
        (script(lambda c: c.send_headers(1, HEAD)) + frame(0, 0, 0, bytes(99)), "malformed"),
        (script(lambda c: None) + frame(1, 4, 2, b"\x82"), "malformed"),
        (script(lambda c: None) + PING * 1000, "flood"),
        (script(lambda c: c.send_headers(1, [*HEAD, *[("x", "y")] * (MAX_HEADER_COUNT + 1)])), "headers_too_large"),
        (script(lambda c: c.send_headers(1, [*HEAD[:3], (":path", "/" + "y" * MAX_TARGET_BYTES)])), "target_too_large"),
        (script(lambda c: c.send_headers(1, [*HEAD, ("x", "y" * 40_000)])), "headers_too_large"),
    ],
)
def test_each_offence_has_its_name_and_ends_the_connection_with_goaway(data: bytes, reason: str) -> None:
    server, client = Http2(server=True), peer()
    with pytest.raises(WireError) as caught:
        server.receive(data, 0.0)
    assert caught.value.reason == reason
    assert not server.open_for_more
    assert isinstance(client.receive_data(server.take())[-1], h2.events.ConnectionTerminated)


def test_more_streams_than_allowed_end_the_connection() -> None:
    def crowd(client: h2.connection.H2Connection) -> None:
        for number in range(MAX_H2_STREAMS + 1):
            client.remote_settings.update({3: 1000})
            client.remote_settings.acknowledge()
            client.send_headers(2 * number + 1, HEAD)

    with pytest.raises(WireError):
        Http2(server=True).receive(script(crowd), 0.0)


def test_rapid_reset_ends_the_connection() -> None:
    def rapid(client: h2.connection.H2Connection) -> None:
        for number in range(200):
            client.send_headers(2 * number + 1, HEAD, end_stream=True)
            client.reset_stream(2 * number + 1)

    with pytest.raises(WireError, match="reset_flood"):
        Http2(server=True).receive(script(rapid), 0.0)


def test_a_small_header_block_that_unpacks_to_much_is_refused() -> None:
    def bomb(client: h2.connection.H2Connection) -> None:
        client.send_headers(1, [*HEAD, ("x", "y" * 3000), *[("x", "y" * 3000)] * 20])

    data = script(bomb)
    assert len(data) < 10_000
    with pytest.raises(WireError, match="headers_too_large"):
        Http2(server=True).receive(data, 0.0)
