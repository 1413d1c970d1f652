"""`/.well-known/matrix/server`: asked, followed, judged and remembered.

Source: Matrix server-server API v1.19, "Resolving server names", step 3.
"""

from __future__ import annotations

import dataclasses
from urllib.parse import urljoin

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, RelayError, TooLargeError, UnreachableError
from relay.base.ids import ServerName, parse_server_name
from relay.base.limits import MAX_WELL_KNOWN_BYTES, MAX_WELL_KNOWN_REDIRECTS
from relay.transport.client import ClientResponse, HttpClient
from relay.transport.destination import Destination, parse_url

_PATH = "/.well-known/matrix/server"
_TIMEOUT_S = 15.0
_DEFAULT_S = 24 * 3600
_MOST_S = 48 * 3600
_LEAST_S = 300
_REFUSED_S = 3600
# A name that cannot be reached may be our own line: asked again soon, then less and less often.
_FIRST_FAILURE_S = 30
_MOST_FAILURE_S = 3600
_MOST_REMEMBERED = 2000
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclasses.dataclass(slots=True)
class _Memory:
    """What is known of one name: the server it delegates to, or None; until when; failures in a row."""

    delegate: ServerName | None
    until_ms: int
    valid_until_ms: int = 0
    failures: int = 0


class WellKnown:
    """Answers which server a host name delegates to, from memory where that is fresh."""

    def __init__(self, client: HttpClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._memories: dict[str, _Memory] = {}

    async def delegate(self, host: str) -> ServerName | None:
        """Return the server name `host` delegates to, or None if it does not, or nobody can tell now."""
        now_ms = self._clock.wall_ms()
        memory = self._memories.get(host)
        if memory is not None and now_ms < memory.until_ms:
            return memory.delegate
        try:
            response = await self._fetch(host)
            delegate = _read(response)
        except UnreachableError:
            fresh = self._after_failure(memory, now_ms)
        except RelayError:
            fresh = _Memory(None, now_ms + _REFUSED_S * 1000)
        else:
            until_ms = now_ms + lifetime_s(response, now_ms) * 1000
            fresh = _Memory(delegate, until_ms, valid_until_ms=now_ms + _MOST_S * 1000)
        self._memories.pop(host, None)
        if len(self._memories) >= _MOST_REMEMBERED:
            del self._memories[next(iter(self._memories))]
        self._memories[host] = fresh
        return fresh.delegate

    def forget(self, host: str) -> None:
        """Ask again at the next need."""
        self._memories.pop(host, None)

    def _after_failure(self, memory: _Memory | None, now_ms: int) -> _Memory:
        failures = 1 if memory is None else memory.failures + 1
        pause_s = min(_MOST_FAILURE_S, _FIRST_FAILURE_S * 2 ** min(failures - 1, 10))
        if memory is not None and memory.delegate is not None and now_ms < memory.valid_until_ms:
            return _Memory(memory.delegate, now_ms + pause_s * 1000, memory.valid_until_ms, failures)
        return _Memory(None, now_ms + pause_s * 1000, failures=failures)

    async def _fetch(self, host: str) -> ClientResponse:
        url = f"https://{host}{_PATH}"
        place, target = Destination(host, 443, host, host), _PATH
        for _ in range(MAX_WELL_KNOWN_REDIRECTS + 1):
            response = await self._client.request(
                place, "GET", target, timeout_s=_TIMEOUT_S, limit_bytes=MAX_WELL_KNOWN_BYTES
            )
            if response.status not in _REDIRECTS:
                return response
            url = urljoin(url, response.headers.get("location", ""))
            place, target = parse_url(url)
            if place.tls_name is None:
                raise InvalidInputError("redirected away from https")
        raise TooLargeError(f"more than {MAX_WELL_KNOWN_REDIRECTS} redirects")


def _read(response: ClientResponse) -> ServerName:
    if response.status == 429 or response.status >= 500:
        raise UnreachableError(f"answered {response.status}")
    if response.status != 200:
        raise InvalidInputError(f"answered {response.status}")
    value = response.json()
    name = value.get("m.server") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise InvalidInputError("m.server is missing")
    return parse_server_name(name)


def lifetime_s(response: ClientResponse, now_ms: int) -> int:
    """Return how long an answer may be remembered, in seconds: 5 minutes to 48 hours, 24 hours if it does not say."""
    wanted: int | None = None
    for part in ",".join(response.headers.all("cache-control")).split(","):
        name, _, value = part.strip().lower().partition("=")
        if name in ("no-store", "no-cache"):
            return _LEAST_S
        if name == "max-age" and value.isascii() and value.isdigit() and len(value) < 12:
            wanted = int(value)
    expires = response.headers.get("expires")
    if wanted is None and expires is not None:
        import email.utils

        try:
            wanted = int(email.utils.parsedate_to_datetime(expires).timestamp()) - now_ms // 1000
        except (ValueError, OverflowError):
            # RFC 9111, 5.3: a malformed date is one in the past.
            wanted = 0
    return _DEFAULT_S if wanted is None else max(_LEAST_S, min(wanted, _MOST_S))
