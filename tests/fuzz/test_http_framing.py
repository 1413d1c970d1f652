"""Hostile bytes at both HTTP machines, in both roles: a clear error or events, no other exception, no hoarding."""

import contextlib

import h2.config
import h2.connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.limits import MIB
from relay.transport.wire.events import Event, RequestHead, StreamGoneError, Wire, WireError
from relay.transport.wire.floods import PREFACE
from relay.transport.wire.http1 import Http1
from relay.transport.wire.http2 import Http2

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(*fields: tuple[str, str]) -> bytes:
    """Return a header block as an independent client writes it."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, validate_outbound_headers=False))
    client.initiate_connection()
    client.data_to_send()
    client.send_headers(1, fields)
    return client.data_to_send()[9:]


REQUEST = block((":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/"))
BLOCKS = [
    REQUEST,
    block((":method", "PUT"), (":scheme", "https"), (":authority", "a"), (":path", "/"), ("content-length", "5")),
    block((":method", "GET"), (":path", "/")),
    block((":path", "\x7f"), (":method", "\xff"), (":scheme", "https"), (":authority", "")),
    block((":status", "200")),
    block((":status", "\xff\xff\xff")),
    block(("X", "y")),
    b"",
    b"\xff" * 20,
    b"\x3f\xe1\xff\xff\xff\x7f",
]
PAYLOADS = st.one_of(
    st.sampled_from(BLOCKS),
    st.binary(max_size=40),
    st.sampled_from(
        [b"\x00\x03\x00\x00\x00\x00", b"\x00\x04\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(8), bytes(70)]
    ),
)
FRAMES = st.builds(frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 12), PAYLOADS)
SENSIBLE = st.builds(
    frame, st.sampled_from([0, 1, 3, 8, 9]), st.sampled_from([0, 1, 4, 5, 13]), st.sampled_from([1, 3, 5]), PAYLOADS
)
H2_BYTES = st.lists(st.one_of(FRAMES, SENSIBLE, SENSIBLE), max_size=12).map(b"".join)
H1_PARTS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /x HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"\r\n",
        b"\n",
        b"\x00",
        b"3\r\nabc\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 \r\n\r\n",
        b"HTTP/1.1 304 \r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"HTTP/1.0 999 \r\n",
        PREFACE,
    ]
)
H1_BYTES = st.lists(st.one_of(H1_PARTS, H1_PARTS, st.binary(max_size=10)), max_size=12).map(b"".join)


def converse(wire: Wire, data: bytes, cut: int) -> None:
    """Feed `data` in pieces of `cut` bytes, answer every request, consume nothing, as a careless room above would."""
    try:
        for at in range(0, len(data), cut):
            react(wire, wire.receive(data[at : at + cut], 0.0))
            react(wire, wire.proceed())
            assert wire.unsent_bytes < MIB
        react(wire, wire.receive(b"", 0.0))
    except WireError as error:
        assert error.reason
        assert not wire.open_for_more
    wire.close()
    assert len(wire.take()) < MIB


def react(wire: Wire, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, RequestHead):
            assert event.target.isascii()
            # Gone: reset, or broken by a later frame of the same bytes.
            with contextlib.suppress(StreamGoneError):
                wire.allow_body(event.stream)
                if event.ended:
                    wire.respond(event.stream, 200, [(b"content-length", b"0")], ended=True)


@FUZZ
@given(H2_BYTES, st.integers(1, 200))
def test_http2_servers_survive_any_frames(data: bytes, cut: int) -> None:
    converse(Http2(server=True), PREFACE + frame(4, 0, 0, b"") + data, cut)


@FUZZ
@given(H2_BYTES, st.integers(1, 200))
def test_http2_clients_survive_any_frames(data: bytes, cut: int) -> None:
    wire = Http2(server=False)
    wire.receive(frame(4, 0, 0, b""), 0.0)
    for _ in range(3):
        wire.request("GET", "/", [(b"host", b"a")], ended=True)
    converse(wire, data, cut)


@FUZZ
@given(st.binary(max_size=200), st.integers(1, 200), st.booleans(), st.booleans())
def test_any_bytes_at_all_are_survived(data: bytes, cut: int, http2: bool, server: bool) -> None:
    converse(Http2(server=server) if http2 else Http1(server=server), data, cut)


@FUZZ
@given(H1_BYTES, st.integers(1, 200))
def test_http1_servers_survive_any_lines(data: bytes, cut: int) -> None:
    converse(Http1(server=True), data, cut)


@FUZZ
@given(H1_BYTES, st.integers(1, 200))
def test_http1_clients_survive_any_lines(data: bytes, cut: int) -> None:
    wire = Http1(server=False)
    wire.request("GET", "/", [(b"host", b"a")], ended=True)
    converse(wire, data, cut)
