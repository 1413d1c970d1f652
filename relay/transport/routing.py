"""From a request's path to the function that answers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from relay.base.errors import InvalidInputError, RelayError, UnrecognizedError
from relay.base.log import get_logger
from relay.transport.message import Endpoint, Request, Response

log = get_logger()


class UnknownPathError(UnrecognizedError):
    """No endpoint has this path."""

    code = "unrecognized.path"


class UnknownMethodError(UnrecognizedError):
    """The path exists, but not with this method."""

    code = "unrecognized.method"


@dataclasses.dataclass(slots=True)
class _Branch:
    """One segment of all patterns: literal names win over a parameter."""

    literal: dict[str, _Branch] = dataclasses.field(default_factory=dict)
    parameter: _Branch | None = None
    endpoints: dict[str, tuple[Endpoint, tuple[str, ...]]] = dataclasses.field(default_factory=dict)


class Router:
    """Answers a request with the endpoint whose pattern fits; a fault becomes a reply, never an exception.

    Args:
        refuse: the door's reply to an error; unknown paths and methods come as `UnrecognizedError`.
        headers: added to every reply, also to errors (CORS).
    """

    def __init__(self, *, refuse: Callable[[RelayError], Response], headers: Sequence[tuple[str, str]] = ()) -> None:
        self._refuse = refuse
        self._headers = list(headers)
        self._root = _Branch()

    def add(self, method: str, pattern: str, endpoint: Endpoint) -> None:
        """Answer `method` on `pattern` with `endpoint`; `{name}` stands for one whole segment, empty ones included.

        HEAD is answered by what answers GET, unless it has an endpoint of its own.

        Raises:
            ValueError: the pattern is taken, or does not start with a slash.
        """
        if not pattern.startswith("/"):
            raise ValueError(f"{pattern} does not start with a slash")
        branch, names = self._root, list[str]()
        for segment in pattern[1:].split("/"):
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                branch.parameter = branch.parameter or _Branch()
                branch = branch.parameter
            else:
                branch = branch.literal.setdefault(segment, _Branch())
        if method in branch.endpoints:
            raise ValueError(f"{method} {pattern} is answered already")
        branch.endpoints[method] = (endpoint, tuple(names))

    async def answer(self, request: Request) -> Response:
        """Return the reply; raises nothing but `trio.Cancelled`."""
        try:
            response = await self._dispatch(request)
        except RelayError as error:
            response = self._refuse(error)
        except ExceptionGroup as group:
            # Tasks that worked together for one request: what stopped the first of them is the answer.
            response = self._refuse(_first_of(group))
        except Exception as error:  # noqa: BLE001 - a bug in one endpoint must not end the connection or the server
            response = self._refuse(_reported(error))
        if not self._headers:
            return response
        # A copy: the endpoint may return the same object again.
        return Response(response.status, [*response.headers, *self._headers], response.body, response.length_bytes)

    async def _dispatch(self, request: Request) -> Response:
        branch, values = self._find(self._root, request.path[1:].split("/"), 0)
        if branch is None or not request.path.startswith("/"):
            if request.method == "OPTIONS" and self._headers:
                return Response(200)
            raise UnknownPathError("this path is not known here")
        found = branch.endpoints.get(request.method)
        if found is None and request.method == "HEAD":
            found = branch.endpoints.get("GET")
        if found is None:
            if request.method == "OPTIONS":
                return Response(200)
            raise UnknownMethodError("this path does not know this method")
        endpoint, names = found
        request.params = dict(zip(names, map(_decode, values), strict=True))
        return await endpoint(request)

    def _find(self, branch: _Branch, segments: list[str], at: int) -> tuple[_Branch | None, list[str]]:
        if at == len(segments):
            return (branch if branch.endpoints else None), []
        below = branch.literal.get(segments[at])
        if below is not None:
            found, values = self._find(below, segments, at + 1)
            if found is not None:
                return found, values
        if branch.parameter is not None:
            found, values = self._find(branch.parameter, segments, at + 1)
            if found is not None:
                return found, [segments[at], *values]
        return None, []


def _decode(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("the path is not UTF-8") from None


def _first_of(group: ExceptionGroup[Exception]) -> RelayError:
    """Return the first refusal in `group`, or a fault of ours where it holds anything else."""
    refusals, rest = group.split(RelayError)
    if refusals is None or rest is not None:
        return _reported(rest or group)
    first: Exception = refusals
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, RelayError)
    return first


def _reported(error: Exception) -> RelayError:
    """Return the refusal for a bug of ours, which is noted."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    # Without the traceback's text: messages and values in it are private.
    log.error("transport.endpoint_failed", error=type(error).__name__, where=_where(error))
    return RelayError("internal error")


def _where(error: BaseException) -> str:
    """Return file and line of the fault: enough to find the bug, without the values in its message."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return ""
    return f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}"
