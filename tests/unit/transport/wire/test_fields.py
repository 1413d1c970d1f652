import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_HEADER_COUNT, MAX_TARGET_BYTES
from relay.transport.wire.events import Header, WireError
from relay.transport.wire.fields import read_request, read_response

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/a?b")]


def test_a_request_is_read() -> None:
    assert read_request([*GET, (b"x-a", b"1"), (b"x-a", b"")]) == (
        "GET",
        "/a?b",
        [(b"x-a", b"1"), (b"x-a", b""), (b"host", b"a.example")],
    )


def test_host_may_stand_for_authority_and_must_agree_with_it() -> None:
    assert read_request([*GET[:2], GET[3], (b"host", b"b")])[2] == [(b"host", b"b")]
    assert read_request([*GET, (b"host", b"a.example")])[2] == [(b"host", b"a.example")]
    for others in ([(b"host", b"b")], [(b"host", b"a.example"), (b"host", b"a.example")]):
        with pytest.raises(WireError):
            read_request([*GET, *others])


@pytest.mark.parametrize(
    "fields",
    [
        [],
        GET[1:],
        GET[:1] + GET[2:],
        GET[:2] + GET[3:],
        GET[:3],
        [*GET, (b":path", b"/")],
        [*GET, (b":status", b"200")],
        [*GET, (b":protocol", b"websocket")],
        [(b"x-a", b"1"), *GET],
        [*GET, (b"X-A", b"1")],
        [*GET, (b"", b"1")],
        [*GET, (b"a b", b"1")],
        [*GET, (b"a\nb", b"1")],
        [*GET, (b"a:b", b"1")],
        [*GET, (b"a\xff", b"1")],
        [*GET, (b"a", b"1\r\nb: c")],
        [*GET, (b"a", b"\x00")],
        [*GET, (b"connection", b"close")],
        [*GET, (b"transfer-encoding", b"chunked")],
        [*GET, (b"te", b"gzip")],
        [*GET[:3], (b":path", b"")],
        [*GET[:3], (b":path", b"a")],
        [*GET[:3], (b":path", b"/a b")],
        [*GET[:3], (b":path", b"/\xc3\xbc")],
        [(b":method", b""), *GET[1:]],
        [(b":method", b"G T"), *GET[1:]],
        [*GET[:2], (b":authority", b"a\r\nb"), GET[3]],
        [(b":method", b"CONNECT"), (b":authority", b"a:1")],
    ],
)
def test_malformed_requests_are_refused(fields: list[Header]) -> None:
    with pytest.raises(WireError, match="malformed"):
        read_request(fields)


def test_the_limits_are_kept_to_the_byte() -> None:
    most = [(b":path", b"/" + b"x" * (MAX_TARGET_BYTES - 1))]
    assert len(read_request([*GET[:3], *most])[1]) == MAX_TARGET_BYTES
    with pytest.raises(WireError, match="target_too_large"):
        read_request([*GET[:3], (b":path", most[0][1] + b"x")])
    read_request([*GET, *[(b"x", b"y")] * MAX_HEADER_COUNT])
    with pytest.raises(WireError, match="headers_too_large"):
        read_request([*GET, *[(b"x", b"y")] * (MAX_HEADER_COUNT + 1)])


def test_a_response_is_read() -> None:
    assert read_response([(b":status", b"204"), (b"te", b"trailers")]) == (204, [(b"te", b"trailers")])
    for fields in ([], [(b":status", b"20")], [(b":status", b"099")], [(b":status", b"200"), (b":path", b"/")]):
        with pytest.raises(WireError):
            read_response(fields)


@given(
    st.lists(st.tuples(st.sampled_from([b":method", b":path", b":status", b"a", b"A", b":x"]), st.binary(max_size=4)))
)
def test_any_fields_at_all_are_read_or_refused(fields: list[Header]) -> None:
    for read in (read_request, read_response):
        try:
            read(fields)
        except WireError as error:
            assert error.reason
