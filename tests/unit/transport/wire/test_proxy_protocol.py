import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_PROXY_HEADER_BYTES
from relay.transport.wire.proxy_protocol import SIGNATURE, ProxyHeader, ProxyHeaderError, read_proxy_header

V4 = bytes([198, 51, 100, 7, 192, 0, 2, 1]) + (40_000).to_bytes(2) + (443).to_bytes(2)
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + bytes(4)
MAPPED = ipaddress.ip_address("::ffff:198.51.100.7").packed + bytes(16) + bytes(4)
UNIQUE_ID = b"\x05\x00\x03abc"


def header(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2) + block


@pytest.mark.parametrize(
    ("sent", "source"),
    [
        (header(0x21, 0x11, V4), "198.51.100.7"),
        (header(0x21, 0x11, V4 + UNIQUE_ID), "198.51.100.7"),
        (header(0x21, 0x21, V6), "2001:db8::7"),
        (header(0x21, 0x21, MAPPED + UNIQUE_ID), "198.51.100.7"),
        (header(0x20, 0x00, b""), ""),
        (header(0x20, 0x11, V4), ""),
        (header(0x21, 0x00, b""), ""),
        (header(0x21, 0x12, V4), ""),
        (header(0x21, 0x31, bytes(216)), ""),
        (header(0x21, 0x11, V4 + bytes(MAX_PROXY_HEADER_BYTES - 16 - len(V4))), "198.51.100.7"),
    ],
)
def test_the_proxy_names_an_address_or_speaks_for_itself(sent: bytes, source: str) -> None:
    assert read_proxy_header(sent + b"\x16\x03") == ProxyHeader(source, len(sent))
    for end in range(len(sent)):
        assert read_proxy_header(sent[:end]) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\r",
        header(0x11, 0x11, V4),
        header(0x22, 0x11, V4),
        header(0x21, 0x41, V4),
        header(0x21, 0x13, V4),
        header(0x21, 0x11, V4[:-1]),
        header(0x21, 0x21, V4),
        header(0x21, 0x11, V4, MAX_PROXY_HEADER_BYTES - 15),
        header(0x20, 0x00, b"", 65_535),
    ],
)
def test_what_is_no_header_of_version_2_is_refused_as_soon_as_that_is_clear(sent: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(sent)


@given(st.one_of(st.binary(max_size=64), st.builds(lambda tail: SIGNATURE + tail, st.binary(max_size=300))))
def test_hostile_bytes_are_refused_or_read_within_what_is_there(sent: bytes) -> None:
    try:
        found = read_proxy_header(sent)
    except ProxyHeaderError:
        # What was refused stays refused, whatever follows.
        with pytest.raises(ProxyHeaderError):
            read_proxy_header(sent + b"more")
        return
    if found is not None:
        assert 16 <= found.length_bytes <= min(len(sent), MAX_PROXY_HEADER_BYTES)
        assert str(ipaddress.ip_address(found.source or "::")) == (found.source or "::")
        assert read_proxy_header(sent + b"more") == found
