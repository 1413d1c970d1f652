import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.uplink.nat_pmp import EXTERNAL_ADDRESS_REQUEST, ExternalAddress, Mapped, map_request, read_response


def test_requests_are_laid_out_as_the_rfc_draws_them() -> None:
    assert bytes(2) == EXTERNAL_ADDRESS_REQUEST
    assert map_request(8443, 443, 7200) == bytes.fromhex("00020000 20fb 01bb 00001c20")
    assert map_request(8443, 443, 0) == bytes.fromhex("00020000 20fb 0000 00000000")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("00800000 00000007 09090909", ExternalAddress("Success", 7, "9.9.9.9")),
        ("00800003 00000007 00000000", ExternalAddress("Network Failure", 7, "")),
        ("00820000 00000007 20fb 01bb 00001c20", Mapped("Success", 7, 8443, 443, 7200)),
        ("00820002 00000007 20fb 0000 00000000", Mapped("Not Authorized/Refused", 7, 8443, 0, 0)),
        ("00820004 00000007", Mapped("Out of resources", 7, 0, 0, 0)),
        ("00820063 00000007", Mapped("result 99", 7, 0, 0, 0)),
        ("00820000 00000007", None),
        ("00810000 00000007 20fb 01bb 00001c20", None),
        ("02820000 00000007 20fb 01bb 00001c20", None),
        ("0082", None),
    ],
)
def test_answers_are_read(data: str, found: object) -> None:
    assert read_response(bytes.fromhex(data)) == found


@given(st.binary(max_size=24))
def test_hostile_datagrams_are_read_or_passed_over(data: bytes) -> None:
    read_response(data)
    read_response(b"\0" + data)
