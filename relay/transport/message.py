"""A request and a response as the rooms above see them: no connection, no protocol version, no framing."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Self, overload
from urllib.parse import parse_qs

import orjson

from relay.base.errors import InvalidInputError, TooLargeError
from relay.transport.body_budget import BodyBudget

Header = tuple[bytes, bytes]

_MAX_QUERY_FIELDS = 256
_BREAKS = frozenset(b"\r\n\0")
_WITHOUT_BREAKS = bytes(0x20 if byte in _BREAKS else byte for byte in range(256))


class Headers:
    """Header fields in the order they came; names are compared without case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[Header] = ()) -> None:
        self._fields = [(name.lower(), value) for name, value in fields]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of `name`, or `default`; bytes outside UTF-8 come out as U+FFFD."""
        wanted = name.lower().encode("latin-1", "replace")
        for field, value in self._fields:
            if field == wanted:
                return value.decode("utf-8", "replace")
        return default

    def all(self, name: str) -> list[str]:
        """Return every value of `name`, in order."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("utf-8", "replace") for field, value in self._fields if field == wanted]

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[Header]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Values hold access tokens and signatures; they must not reach a log by way of a repr.
        return f"Headers({', '.join(name.decode('latin-1') for name, _ in self._fields)})"


def render_field(name: str, value: str) -> Header:
    """Return a field for the wire; a line break in a value, however it got there, must not become another field."""
    raw = value.encode("utf-8", "replace")
    if not _BREAKS.isdisjoint(raw):
        raw = raw.translate(_WITHOUT_BREAKS)
    return name.lower().encode("latin-1"), raw.strip()


class Pieces:
    """A body that is here already, as an iterator. Not a generator: one left unfinished needs no closing."""

    __slots__ = ("_left",)

    def __init__(self, *pieces: bytes) -> None:
        self._left = [piece for piece in reversed(pieces) if piece]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


@dataclasses.dataclass(slots=True, repr=False)
class Request:
    """One request; its body is still on its way until `body` or `stream` is awaited.

    Attributes:
        method: upper case as sent.
        target: path and query exactly as received; X-Matrix signatures cover it.
        headers: all fields; HTTP/2's `:authority` appears as `host`.
        address: the peer's IP address, for rate limits; empty over memory streams.
        budget: what bodies that are gathered whole may take together.
        params: path parameters, percent-decoded, filled by the router.
        path: the still percent-encoded path.
    """

    method: str
    target: str
    headers: Headers = dataclasses.field(default_factory=Headers)
    address: str = ""
    source: AsyncIterator[bytes] = dataclasses.field(default_factory=Pieces)
    budget: BodyBudget | None = None
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    path: str = dataclasses.field(init=False)
    _raw_query: str = dataclasses.field(init=False)
    _query: dict[str, list[str]] | None = dataclasses.field(init=False, default=None)
    _whole: bytes | None = dataclasses.field(init=False, default=None)
    _held_bytes: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        """Split the target."""
        self.path, _, self._raw_query = self.target.partition("?")

    @property
    def query(self) -> dict[str, list[str]]:
        """The decoded query, names to values in order; empty values are kept.

        Raises:
            InvalidInputError: it has more than 256 fields.
        """
        if self._query is None:
            try:
                self._query = parse_qs(self._raw_query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
            except ValueError:
                raise InvalidInputError(f"the query has more than {_MAX_QUERY_FIELDS} fields") from None
        return self._query

    def argument(self, name: str) -> str | None:
        """Return the first value of query field `name`, or None."""
        values = self.query.get(name)
        return values[0] if values else None

    async def body(self, limit_bytes: int) -> bytes:
        """Return the whole body; asked again, it is the same bytes.

        Raises:
            TooLargeError: it is longer than `limit_bytes`.
            RateLimitedError: too much of other bodies is here already.
        """
        if self._whole is None:
            self._check_length(limit_bytes)
            pieces: list[bytes] = []
            size = 0
            async for piece in self.source:
                size += len(piece)
                if size > limit_bytes:
                    raise TooLargeError(f"the body is longer than {limit_bytes} bytes")
                if self.budget is not None:
                    self.budget.take(self.address, self._held_bytes, len(piece))
                    self._held_bytes += len(piece)
                pieces.append(piece)
            self._whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(self._whole) > limit_bytes:
            raise TooLargeError(f"the body is longer than {limit_bytes} bytes")
        return self._whole

    @property
    def gathered_bytes(self) -> int:
        """The length of the body, where it has been gathered whole."""
        return len(self._whole or b"")

    def release(self) -> None:
        """Give back what the body took of the budget: the request is answered."""
        if self.budget is not None:
            self.budget.give_back(self.address, self._held_bytes)
            self._held_bytes = 0

    def stream(self, limit_bytes: int | None = None) -> AsyncIterator[bytes]:
        """Return the body piece by piece, as it comes; the peer sends no faster than this is read.

        Raises:
            TooLargeError: it says at its head that it is longer than `limit_bytes`; it may turn out longer anyhow.
        """
        if limit_bytes is not None:
            self._check_length(limit_bytes)
        return Pieces(self._whole) if self._whole is not None else self.source

    def _check_length(self, limit_bytes: int) -> None:
        length = self.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > limit_bytes:
            raise TooLargeError(f"the body is longer than {limit_bytes} bytes")

    def __repr__(self) -> str:
        # The target and headers name people and hold tokens.
        return f"Request({self.method})"


@dataclasses.dataclass(slots=True)
class Response:
    """One answer.

    Attributes:
        body: all of it, or an iterator that is read no faster than the peer takes it, and closed in any case.
        length_bytes: the length of an iterator's body, where it is known.
    """

    status: int
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""
    length_bytes: int | None = None

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Self:
        """Return `value` as an `application/json` answer."""
        return cls(status, [("Content-Type", "application/json"), *headers], orjson.dumps(value))

    def parsed(self) -> Any:  # noqa: ANN401 - JSON is anything
        """Return the JSON of a whole body.

        Raises:
            InvalidInputError: the body is not JSON, or it is a stream.
        """
        if not isinstance(self.body, bytes):
            raise InvalidInputError("the body is a stream")
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise InvalidInputError("the body is not JSON") from None


Endpoint = Callable[[Request], Awaitable[Response]]
"""What answers a request."""
