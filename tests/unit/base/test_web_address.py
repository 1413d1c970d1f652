import pytest

from relay.base.web_address import is_web_address


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example:8443/x?y", "https://[::1]:1/", "https://192.0.2.7"]
)
def test_an_address_has_a_scheme_and_a_host(url: str) -> None:
    assert is_web_address(url, "https")
    assert is_web_address(url, "http", "https")
    assert not is_web_address(url, "http")


@pytest.mark.parametrize(
    "url", ["", "a.example", "https://", "https:///x", "https://[::1", "https://a:port", "https://a:0"]
)
def test_what_is_malformed_is_none(url: str) -> None:
    assert not is_web_address(url, "https")
