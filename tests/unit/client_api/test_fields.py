"""Fields are read in their type or refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from relay.base.errors import InvalidInputError, MissingParamError
from relay.client_api import fields
from relay.transport.message import Request


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (fields.required_text, "x", 1),
        (fields.required_object, {"a": 1}, []),
        (fields.optional_text, "x", 1),
        (fields.optional_int, 5, True),
        (fields.optional_int, 5, 1.5),
        (fields.optional_bool, True, 1),
        (fields.optional_object, {}, "x"),
        (fields.optional_list, [1], {}),
        (fields.optional_texts, ["a"], [1]),
    ],
)
def test_a_field_is_returned_or_named_in_the_refusal(
    read: Callable[[dict[str, Any], str], object], good: object, bad: object
) -> None:
    assert read({"k": good}, "k") == good
    with pytest.raises(InvalidInputError, match="k "):
        read({"k": bad}, "k")


@pytest.mark.parametrize("read", [fields.required, fields.required_text, fields.required_object])
@pytest.mark.parametrize("body", [{}, {"k": None}])
def test_a_required_field_must_be_there(read: Callable[[dict[str, Any], str], object], body: dict[str, Any]) -> None:
    with pytest.raises(MissingParamError, match="k is missing"):
        read(body, "k")


def test_optional_fields_have_their_empty_value() -> None:
    assert fields.optional_text({}, "k") is None
    assert fields.optional_int({"k": None}, "k") is None
    assert fields.optional_bool({}, "k", default=True) is True
    assert (fields.optional_object({}, "k"), fields.optional_list({}, "k"), fields.optional_texts({}, "k")) == (
        {},
        [],
        [],
    )


def test_query_parameters_are_bounded_and_checked() -> None:
    request = Request("GET", "/x?limit=999&neg=-1&yes=true&maybe=1")
    assert fields.int_argument(request, "limit", default=10, most=50) == 50
    assert fields.int_argument(request, "other", default=10) == 10
    assert fields.bool_argument(request, "yes") is True
    with pytest.raises(InvalidInputError):
        fields.int_argument(request, "neg", default=1)
    with pytest.raises(InvalidInputError):
        fields.bool_argument(request, "maybe")


def test_path_parameters_become_ids() -> None:
    request = Request("GET", "/x")
    request.params = {"roomId": "!r:h", "eventId": "$" + "a" * 43, "userId": "@u:h"}
    assert (fields.room_of(request), fields.event_of(request), fields.user_of(request)) == (
        "!r:h",
        "$" + "a" * 43,
        "@u:h",
    )
