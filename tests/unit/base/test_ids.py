import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base import ids
from relay.base.errors import InvalidInputError


@pytest.mark.parametrize("name", ["matrix.org", "localhost:38448", "1.2.3.4", "[::1]", "[2001:db8::1]:8448"])
def test_server_names_of_the_specification_are_taken(name: str) -> None:
    assert ids.parse_server_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a:port", "a:0", "a:70000", "[::1", "[zz]", "a/b", "a:1:2", "ü.example"])
def test_other_server_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        ids.parse_server_name(name)


def test_the_host_of_a_server_name_is_what_the_dns_and_certificates_call_it() -> None:
    assert ids.host_of("Box.Example:8448") == "box.example"
    assert ids.host_of("[2001:DB8::1]:8448") == "2001:db8::1"
    assert ids.host_of("[::1]") == "::1"


def test_a_user_id_may_hold_a_port() -> None:
    user = ids.parse_user_id("@anna:localhost:38448")
    assert ids.server_of(user) == "localhost:38448"


def test_new_users_follow_the_strict_grammar() -> None:
    assert ids.make_user_id("anna.b", ids.ServerName("box.example")) == "@anna.b:box.example"
    with pytest.raises(InvalidInputError):
        ids.make_user_id("Anna", ids.ServerName("box.example"))
    assert ids.parse_user_id("@Anna:box.example")


def test_a_version_12_room_id_has_no_server() -> None:
    room = ids.parse_room_id("!" + "a" * 43)
    with pytest.raises(InvalidInputError):
        ids.server_of(room)
    assert ids.server_of(ids.parse_room_id("!x:box.example")) == "box.example"


@given(st.text(max_size=300))
def test_any_text_is_taken_or_refused_clearly(text: str) -> None:
    for parse in (
        ids.parse_user_id,
        ids.parse_room_id,
        ids.parse_room_alias,
        ids.parse_event_id,
        ids.parse_server_name,
    ):
        try:
            assert parse(text) == text
        except InvalidInputError as error:
            assert error.code == "input.invalid"
