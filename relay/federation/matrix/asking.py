"""One authenticated request as the endpoints see it, and the reading of its fields."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relay.base.errors import InvalidInputError, InvalidParamError, MissingParamError
from relay.base.ids import EventId, RoomId, ServerName, UserId, parse_event_id, parse_room_id, parse_user_id, server_of
from relay.transport.message import Request

Json = dict[str, Any]


@contextlib.contextmanager
def parameters() -> Iterator[None]:
    """Let what is malformed inside the block be answered as a parameter, `M_INVALID_PARAM`, and not as JSON."""
    try:
        yield
    except InvalidInputError as error:
        if error.code != InvalidInputError.code:
            raise
        raise InvalidParamError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Asking:
    """A request whose signature is right.

    Attributes:
        origin: the server that asks.
        content: the parsed body, None where there was none.
    """

    origin: ServerName
    request: Request
    content: Any

    def param(self, name: str) -> str:
        """Return a path parameter."""
        return self.request.params[name]

    def room(self) -> RoomId:
        """Return the path's room id; raises InvalidParamError."""
        with parameters():
            return parse_room_id(self.request.params["roomId"])

    def event(self) -> EventId:
        """Return the path's event id; raises InvalidParamError."""
        with parameters():
            return parse_event_id(self.request.params["eventId"])

    def user(self) -> UserId:
        """Return the path's user id; raises InvalidParamError."""
        with parameters():
            return parse_user_id(self.request.params["userId"])

    def argument(self, name: str) -> str:
        """Return a query parameter.

        Raises:
            MissingParamError: it is not there.
        """
        value = self.request.argument(name)
        if value is None:
            raise MissingParamError(f"{name} is missing")
        return value

    def event_argument(self) -> EventId:
        """Return the query's `event_id`.

        Raises:
            MissingParamError, InvalidParamError: it is not there, or no event id.
        """
        with parameters():
            return parse_event_id(self.argument("event_id"))

    def limit(self, most: int, default: int) -> int:
        """Return the query's `limit`, at most `most`.

        Raises:
            InvalidParamError: it is not a number.
        """
        text = self.request.argument("limit")
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise InvalidParamError("limit is not a number")
        return min(int(text), most)

    def object(self) -> Json:
        """Return the body.

        Raises:
            InvalidInputError: it is not a JSON object.
        """
        if not isinstance(self.content, dict):
            raise InvalidInputError("the body is not a JSON object")
        return self.content


def own_user(text: str, server: ServerName) -> UserId:
    """Return a user id of this box.

    Raises:
        InvalidParamError: it is malformed, or another server's: peers may only ask us about our own.
    """
    with parameters():
        user = parse_user_id(text)
    if server_of(user) != server:
        raise InvalidParamError("this user is on another server")
    return user
