import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.uplink.pcp import MapResponse, map_request, read_response, refuses_version

NONCE = bytes(range(12))
MAPPED = bytes(10) + b"\xff\xff"


def response(code: int = 0, *, lifetime_s: int = 3600, epoch_s: int = 7, port: int = 443, version: int = 2) -> bytes:
    """Return a MAP response as the figures 3 and 10 of RFC 6887 lay it out."""
    header = bytes([version, 0x81, 0, code]) + lifetime_s.to_bytes(4) + epoch_s.to_bytes(4) + bytes(12)
    return header + NONCE + bytes([6, 0, 0, 0]) + (8443).to_bytes(2) + port.to_bytes(2) + MAPPED + bytes([9, 9, 9, 9])


def test_a_request_is_laid_out_as_the_figures_2_and_9_say() -> None:
    sent = map_request(
        client="192.168.1.7", nonce=NONCE, internal_port=8443, external_port=443, external_address="", lifetime_s=3600
    )
    assert sent == (
        bytes([2, 1, 0, 0, 0, 0, 14, 16])
        + (MAPPED + bytes([192, 168, 1, 7]))
        + (NONCE + bytes([6, 0, 0, 0]))
        + ((8443).to_bytes(2) + (443).to_bytes(2))
        + (MAPPED + bytes(4))
    )
    assert len(sent) == 60


def test_deleting_names_no_external_port_and_address() -> None:
    sent = map_request(
        client="2001:db8::7",
        nonce=NONCE,
        internal_port=1,
        external_port=2,
        external_address="2001:db8::9",
        lifetime_s=0,
    )
    assert sent[4:8] == bytes(4)
    assert sent[42:] == bytes(18)


def test_an_answer_is_read() -> None:
    assert read_response(response()) == MapResponse(
        result="SUCCESS",
        lifetime_s=3600,
        epoch_s=7,
        nonce=NONCE,
        internal_port=8443,
        external_port=443,
        external_address="9.9.9.9",
    )


@pytest.mark.parametrize(
    ("code", "name"), [(2, "NOT_AUTHORIZED"), (8, "NO_RESOURCES"), (12, "ADDRESS_MISMATCH"), (99, "result 99")]
)
def test_an_error_has_its_name(code: int, name: str) -> None:
    found = read_response(response(code, lifetime_s=30))
    assert found is not None
    assert (found.result, found.lifetime_s, found.external_address) == (name, 30, "")


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (bytes([0, 0x81, 0, 1]) + bytes(4), True),
        (bytes([0, 0x80, 0, 1]) + bytes(4), True),
        (response(1, version=1), True),
        (bytes([0, 0x80, 0, 0]) + bytes(8), False),
        (response(), False),
        (b"", False),
        (bytes([2, 1, 0, 1]) + bytes(56), False),
    ],
)
def test_a_router_that_does_not_speak_it_is_told_apart(data: bytes, refused: bool) -> None:
    assert refuses_version(data) is refused


@given(st.binary(max_size=80))
def test_hostile_datagrams_are_read_or_passed_over(data: bytes) -> None:
    read_response(data)
    read_response(response()[:2] + data)
    refuses_version(data)


def test_what_no_client_reads_is_passed_over() -> None:
    for data in (
        response() + b"x",
        response() + bytes(1100),
        response(version=1),
        response()[:56],
        b"\2\1" + bytes(58),
    ):
        assert read_response(data) is None
