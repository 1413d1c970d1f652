import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.uplink.dyndns2 import authorization, judge, update_url

SERVER = "https://dyn.example/nic/update"


def test_a_request_names_the_host_and_the_addresses_that_are_known() -> None:
    both = update_url(SERVER, "box.example", ["192.0.2.7", "2001:db8::7"])
    assert both == f"{SERVER}?hostname=box.example&myip=192.0.2.7,2001:db8::7"
    assert update_url(SERVER, "box.example", []) == f"{SERVER}?hostname=box.example"
    assert update_url(f"{SERVER}?x=1", "a&b", []) == f"{SERVER}?x=1&hostname=a%26b"


def test_who_asks_stands_in_the_header() -> None:
    # RFC 7617, section 2.
    assert authorization("Aladdin", "open sesame") == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}


@pytest.mark.parametrize(
    ("status", "body", "code", "good", "fatal", "waits"),
    [
        (200, b"good 192.0.2.7", "good", True, False, False),
        (200, b"nochg 192.0.2.7\n", "nochg", True, False, False),
        (200, b"OK", "ok", True, False, False),
        (200, b"good 127.0.0.1", "badagent", False, True, False),
        (200, b"badauth", "badauth", False, True, False),
        (401, b"<html>", "badauth", False, True, False),
        (200, b"KO", "badauth", False, True, False),
        (200, b"nohost", "nohost", False, True, False),
        (200, b"notfqdn", "notfqdn", False, True, False),
        (200, b"abuse", "abuse", False, True, False),
        (200, b"!donator", "!donator", False, True, False),
        (200, b"!yours", "!yours", False, True, False),
        (200, b"numhost", "numhost", False, True, False),
        (200, b"badsys", "badsys", False, True, False),
        (200, b"disabled", "disabled", False, True, False),
        (200, b"badagent", "badagent", False, True, False),
        (200, b"911", "911", False, False, True),
        (200, b"dnserr", "dnserr", False, False, True),
        (200, b"servererror", "servererror", False, False, True),
        (503, b"", "503", False, False, True),
        (429, b"slow down", "429", False, False, True),
        (200, b"<html>welcome</html>", "unknown", False, False, True),
        (200, b"", "unknown", False, False, True),
    ],
)
def test_each_return_code_says_whether_and_when_to_ask_again(
    status: int, body: bytes, code: str, good: bool, fatal: bool, waits: bool
) -> None:
    verdict = judge(status, body)
    assert (verdict.code, verdict.good, verdict.fatal, verdict.wait_s >= 1800) == (code, good, fatal, waits)


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_answer_means_something(status: int, body: bytes) -> None:
    verdict = judge(status, body)
    assert verdict.good or verdict.fatal or verdict.wait_s > 0
