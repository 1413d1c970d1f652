import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.admin.requests import VERBS, AddUser, DeactivateUser, Status, parse_request
from relay.base.errors import InvalidInputError, RelayError
from relay.base.limits import MAX_NAME_BYTES, MAX_PASSWORD_BYTES

REQUESTS = [
    ({"verb": "status"}, Status()),
    ({"verb": "user_add", "name": "anna", "password": "secret", "admin": True}, AddUser("anna", "secret", admin=True)),
    ({"verb": "user_deactivate", "name": "anna"}, DeactivateUser("anna")),
]


@pytest.mark.parametrize(("fields", "request_"), REQUESTS)
def test_a_request_is_what_its_fields_spell(fields: dict[str, Any], request_: Any) -> None:
    assert parse_request(fields) == request_


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no such verb"),
        ({"verb": ["status"]}, "no such verb"),
        ({"verb": "provision"}, "no such verb"),
        ({"verb": "status", "deep": 1}, "takes no deep"),
        ({"verb": "user_add", "name": "anna"}, "needs password"),
        ({"verb": "user_add", "name": 5, "password": "x"}, "name must be str"),
        ({"verb": "user_add", "name": "anna", "password": "x", "admin": 1}, "admin must be bool"),
        ({"verb": "user_add", "name": "", "password": "x"}, "name has 0 bytes"),
        ({"verb": "user_add", "name": "a" * (MAX_NAME_BYTES + 1), "password": "x"}, "name has 256 bytes"),
        ({"verb": "user_add", "name": "a", "password": "x" * (MAX_PASSWORD_BYTES + 1)}, "password has 513 bytes"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_request(fields)


def test_a_password_is_not_in_the_text_form_of_a_request() -> None:
    assert "swordfish" not in repr(AddUser("anna", "swordfish"))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(
    st.dictionaries(st.sampled_from(["verb", "name", "password", "admin", "x"]), JSON | st.sampled_from(list(VERBS)))
)
def test_hostile_requests_are_refused_cleanly(fields: dict[str, Any]) -> None:
    try:
        request = parse_request(fields)
    except RelayError as error:
        assert error.code.startswith("input.")
    else:
        assert fields["verb"] in VERBS
        assert dataclasses.asdict(request).items() >= {n: v for n, v in fields.items() if n != "verb"}.items()
