"""Readers of the fields of a request: the value in its type, or the error the specification names.

`MissingParamError` becomes `M_MISSING_PARAM`, `InvalidInputError` `M_BAD_JSON` or `M_INVALID_PARAM`
(client-server API, "Common error codes").
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from relay.base.errors import InvalidInputError, InvalidParamError, MissingParamError
from relay.base.ids import EventId, RoomId, UserId, parse_event_id, parse_room_id, parse_user_id
from relay.transport.message import Request

T = TypeVar("T")


def required(body: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value at `key`, whatever it is.

    Raises:
        MissingParamError: there is none, or it is null.
    """
    value = body.get(key)
    if value is None:
        raise MissingParamError(f"{key} is missing")
    return value


def required_text(body: Mapping[str, Any], key: str) -> str:
    """Return the text at `key`.

    Raises:
        MissingParamError: there is none.
        InvalidInputError: it is not a text.
    """
    value = required(body, key)
    if not isinstance(value, str):
        raise InvalidInputError(f"{key} is not a text")
    return value


def optional_text(body: Mapping[str, Any], key: str) -> str | None:
    """Return the text at `key`, None where there is none.

    Raises:
        InvalidInputError: it is not a text.
    """
    return None if body.get(key) is None else required_text(body, key)


def optional_int(body: Mapping[str, Any], key: str) -> int | None:
    """Return the integer at `key`, None where there is none.

    Raises:
        InvalidInputError: it is not an integer.
    """
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInputError(f"{key} is not an integer")
    return value


def optional_bool(body: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """Return the boolean at `key`, `default` where there is none.

    Raises:
        InvalidInputError: it is not a boolean.
    """
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInputError(f"{key} is not true or false")
    return value


def required_object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object at `key`.

    Raises:
        MissingParamError: there is none.
        InvalidInputError: it is not an object.
    """
    value = required(body, key)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{key} is not an object")
    return value


def optional_object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object at `key`, an empty one where there is none.

    Raises:
        InvalidInputError: it is not an object.
    """
    return {} if body.get(key) is None else required_object(body, key)


def optional_list(body: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list at `key`, an empty one where there is none.

    Raises:
        InvalidInputError: it is not a list.
    """
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInputError(f"{key} is not a list")
    return value


def optional_texts(body: Mapping[str, Any], key: str) -> list[str]:
    """Return the list of texts at `key`, an empty one where there is none.

    Raises:
        InvalidInputError: it is not a list of texts.
    """
    values = optional_list(body, key)
    if not all(isinstance(value, str) for value in values):
        raise InvalidInputError(f"{key} holds something that is not a text")
    return values


def int_argument(request: Request, key: str, *, default: int, most: int | None = None) -> int:
    """Return the non-negative integer query parameter `key`, at most `most`.

    Raises:
        InvalidInputError: it is not a non-negative integer.
    """
    text = request.argument(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInputError(f"{key} is not a non-negative integer")
    return int(text) if most is None else min(int(text), most)


def bool_argument(request: Request, key: str, *, default: bool = False) -> bool:
    """Return the query parameter `key`, which is `true` or `false`.

    Raises:
        InvalidInputError: it is neither.
    """
    text = request.argument(key)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise InvalidInputError(f"{key} is not true or false")
    return text == "true"


def room_of(request: Request) -> RoomId:
    """Return the path parameter `roomId`.

    Raises:
        InvalidParamError: it is not a room id.
    """
    return _named(parse_room_id, request.params["roomId"])


def event_of(request: Request) -> EventId:
    """Return the path parameter `eventId`.

    Raises:
        InvalidParamError: it is not an event id.
    """
    return _named(parse_event_id, request.params["eventId"])


def user_of(request: Request) -> UserId:
    """Return the path parameter `userId`.

    Raises:
        InvalidParamError: it is not a user id.
    """
    return _named(parse_user_id, request.params["userId"])


def _named(parse: Callable[[str], T], text: str) -> T:
    # What stands in a path is a parameter, not part of a body: M_INVALID_PARAM, not M_BAD_JSON.
    try:
        return parse(text)
    except InvalidInputError as error:
        raise InvalidParamError(str(error)) from error
