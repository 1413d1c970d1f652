import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_CLIENT_HELLO_BYTES
from relay.transport.wire.client_hello import ClientHello, NoClientHelloError, read_client_hello


def hello_of(name: str | None, protocols: list[str]) -> bytes:
    """Return what a real TLS client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    ending = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        ending.do_handshake()
    return outgoing.read()


CHALLENGE = hello_of("Box.example", ["acme-tls/1"])


def in_records(message: bytes, lengths: list[int]) -> bytes:
    records = b""
    while message:
        length = max(1, lengths.pop(0)) if lengths else len(message)
        piece, message = message[:length], message[length:]
        records += b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
    return records


def test_a_real_client_asks_for_a_name_and_offers_protocols() -> None:
    assert read_client_hello(CHALLENGE) == ClientHello("box.example", (b"acme-tls/1",))
    assert read_client_hello(hello_of("a.example", ["h2", "http/1.1"])) == ClientHello(
        "a.example", (b"h2", b"http/1.1")
    )
    assert read_client_hello(hello_of(None, [])) == ClientHello("", ())


def test_until_it_is_complete_nothing_is_said() -> None:
    assert all(read_client_hello(CHALLENGE[:length]) is None for length in range(len(CHALLENGE)))


def test_what_follows_it_does_not_matter() -> None:
    assert read_client_hello(CHALLENGE + b"whatever") == read_client_hello(CHALLENGE)


@given(st.lists(st.integers(1, 200), max_size=30))
def test_however_it_is_divided_into_records_it_says_the_same(lengths: list[int]) -> None:
    whole = in_records(CHALLENGE[5:], list(lengths))
    assert read_client_hello(whole) == ClientHello("box.example", (b"acme-tls/1",))
    assert read_client_hello(whole[:-1]) is None


@given(st.integers(0, len(CHALLENGE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_and_nothing_else(place: int, byte: int) -> None:
    changed = CHALLENGE[:place] + bytes([byte]) + CHALLENGE[place + 1 :]
    with contextlib.suppress(NoClientHelloError):
        read_client_hello(changed)


@given(st.binary(max_size=300))
def test_hostile_bytes_are_waited_for_or_refused(data: bytes) -> None:
    for begin in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c"):
        with contextlib.suppress(NoClientHelloError):
            read_client_hello(begin + data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "no_handshake"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "no_handshake"),
        (b"\x16\x02\x01\x00\x02", "no_handshake"),
        (b"\x16\x03\x01\x00\x00", "record_length"),
        (b"\x16\x03\x01\x40\x01", "record_length"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "other_message"),
        (b"\x16\x03\x01\x00\x04\x01\x01\x00\x00", "too_long"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "cut_short"),
    ],
)
def test_something_else_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(NoClientHelloError) as refused:
        read_client_hello(data)
    assert refused.value.reason == reason


def built(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    return in_records(b"\x01" + len(body).to_bytes(3, "big") + body, [16_000] * 8)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        (extension(16, b"\x00\x03\x02h2") * 2, "extension_twice"),
        (extension(16, b"\x00\x00"), "protocols"),
        (extension(16, b"\x00\x01\x00"), "protocols"),
        (extension(16, b"\x00\x03\x02h2!"), "protocols"),
        (extension(0, b"\x00\x00"), "server_name"),
        (extension(0, b"\x00\x04\x01\x00\x01a"), "server_name"),
        (extension(0, b"\x00\x08\x00\x00\x01a\x00\x00\x01b"), "server_name"),
        (extension(0, b"\x00\x04\x00\x00\x01\xff"), "malformed"),
        (b"\x00\x10\x00", "cut_short"),
    ],
)
def test_a_malformed_extension_is_refused(extensions: bytes, reason: str) -> None:
    with pytest.raises(NoClientHelloError) as refused:
        read_client_hello(built(extensions))
    assert refused.value.reason == reason


def test_a_hello_may_be_as_long_as_the_limit_and_no_longer() -> None:
    empty = len(built(b"")) - 5
    room = MAX_CLIENT_HELLO_BYTES - empty - 4
    assert read_client_hello(built(extension(21, bytes(room)))) == ClientHello("", ())
    with pytest.raises(NoClientHelloError, match="too_long"):
        read_client_hello(built(extension(21, bytes(room + 1))))
