"""The door other Matrix servers knock at: authentication, rates, and which function answers what.

Source: Matrix S2S v1.19. What is not listed here (knocking, public rooms, hierarchy, OpenID, third-party invites,
`timestamp_to_event`, notary queries) is answered 404 `M_UNRECOGNIZED`, as "Unsupported endpoints" asks.
"""

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio
from nacl.signing import VerifyKey

from relay.base.clock import Clock
from relay.base.config import RateConfig
from relay.base.errors import InvalidInputError, NotJsonError, RateLimitedError, RelayError, UnauthenticatedError
from relay.base.ids import KeyId, ServerName
from relay.base.limits import (
    FAILED_AUTHENTICATION_BURST,
    FAILED_AUTHENTICATION_PER_S,
    KEY_MEMORY_S,
    MAX_JSON_BODY_BYTES,
    MAX_RATE_BUCKETS,
    STRANGER_BURST,
    STRANGER_PER_S,
)
from relay.core.matrix import canonical_json
from relay.core.matrix.replies import matrix_reply
from relay.delivery.bounds.admission import Admission
from relay.delivery.incoming import Incoming
from relay.delivery.ledger import Ledger
from relay.delivery.media import Media
from relay.federation.matrix import handshakes, history, people, transactions
from relay.federation.matrix.asking import Asking
from relay.federation.matrix.authentication import Signed, check, choose
from relay.federation.matrix.files import Files
from relay.federation.matrix.keys import OwnKeys
from relay.federation.matrix.origin_rate import OriginRate
from relay.rooms.matrix.exchange.answering import Answering
from relay.rooms.matrix.membership.hosting import Hosting
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import members
from relay.transport.message import Request, Response
from relay.transport.routing import Router

Answer = Callable[[Asking], Awaitable[Response]]

_LONG_NUMBER = re.compile(rb"[0-9]{19}")

_V1 = "/_matrix/federation/v1"
_V2 = "/_matrix/federation/v2"


@dataclass(frozen=True, kw_only=True)
class FederationParts:
    """What the door needs of the house.

    Attributes:
        peer_seen: told of every server whose signature was right: it is up.
        may_look: raises where a server is not to look at a device list just now.
        version: of this software, shown to peers.
    """

    server: ServerName
    clock: Clock
    ledger: Ledger
    server_keys: ServerKeys
    own_keys: OwnKeys
    hosting: Hosting
    answering: Answering
    incoming: Incoming
    media: Media
    admission: Admission
    rates: RateConfig = field(default_factory=RateConfig)
    peer_seen: Callable[[ServerName], None]
    may_look: Callable[[ServerName], None]
    version: str


class ServerUnauthenticatedError(UnauthenticatedError):
    """A server's signature is missing or wrong."""

    code = "unauthenticated.server"


def build(parts: FederationParts) -> Router:
    """Return every server-server endpoint of this box."""
    gate = _Gate(parts)
    router = Router(refuse=refuse)
    asked = people.People(parts.ledger, parts.server, parts.may_look)
    rooms = history.History(parts.answering, parts.server, parts.clock)
    hands = handshakes.Handshakes(parts.hosting, parts.admission, gate.invites)
    files = Files(parts.media)
    router.add("GET", f"{_V1}/version", people.version_of(parts.version))
    router.add("GET", "/_matrix/key/v2/server", parts.own_keys.answer)
    endpoints: list[tuple[str, str, Answer]] = [
        ("PUT", f"{_V1}/send/{{txnId}}", transactions.Transactions(parts.incoming, parts.admission).send),
        ("GET", f"{_V1}/make_join/{{roomId}}/{{userId}}", hands.make_join),
        ("PUT", f"{_V2}/send_join/{{roomId}}/{{eventId}}", hands.send_join),
        ("GET", f"{_V1}/make_leave/{{roomId}}/{{userId}}", hands.make_leave),
        ("PUT", f"{_V2}/send_leave/{{roomId}}/{{eventId}}", hands.send_leave),
        ("PUT", f"{_V1}/invite/{{roomId}}/{{eventId}}", hands.invite_v1),
        ("PUT", f"{_V2}/invite/{{roomId}}/{{eventId}}", hands.invite_v2),
        ("GET", f"{_V1}/event/{{eventId}}", rooms.event),
        ("GET", f"{_V1}/state/{{roomId}}", rooms.state),
        ("GET", f"{_V1}/state_ids/{{roomId}}", rooms.state_ids),
        ("GET", f"{_V1}/event_auth/{{roomId}}/{{eventId}}", rooms.event_auth),
        ("GET", f"{_V1}/backfill/{{roomId}}", rooms.backfill),
        ("POST", f"{_V1}/get_missing_events/{{roomId}}", rooms.missing_events),
        ("GET", f"{_V1}/query/profile", asked.profile),
        ("GET", f"{_V1}/query/directory", asked.directory),
        ("GET", f"{_V1}/user/devices/{{userId}}", asked.devices),
        ("POST", f"{_V1}/user/keys/query", asked.query_keys),
        ("POST", f"{_V1}/user/keys/claim", asked.claim_keys),
        ("GET", f"{_V1}/media/download/{{mediaId}}", files.download),
        ("GET", f"{_V1}/media/thumbnail/{{mediaId}}", files.thumbnail),
    ]
    for method, pattern, answer in endpoints:
        router.add(method, pattern, gate.guard(answer))
    return router


def refuse(error: RelayError) -> Response:
    """Return an error as a peer reads it; `Retry-After` goes with `retry_after_ms`."""
    status, body = matrix_reply(error)
    headers = []
    if error.retry_after_s is not None:
        headers.append(("Retry-After", str(math.ceil(error.retry_after_s))))
    return Response.json(body, status, headers)


class _Gate:
    """Lets a request pass whose signature is right and whose server does not ask too often."""

    def __init__(self, parts: FederationParts) -> None:
        self._parts = parts
        rates = parts.rates
        self._origins = OriginRate(per_s=rates.federation_per_s, burst=rates.federation_burst, clock=parts.clock)
        self._strangers = OriginRate(per_s=STRANGER_PER_S, burst=STRANGER_BURST, clock=parts.clock)
        # Before a signature is checked its origin is a claim: a stranger must not use up somebody else's rate.
        self._failures = OriginRate(
            per_s=FAILED_AUTHENTICATION_PER_S, burst=FAILED_AUTHENTICATION_BURST, clock=parts.clock
        )
        self._friends_until_s: dict[ServerName, float] = {}
        self._keys: dict[ServerName, tuple[float, Mapping[KeyId, VerifyKey]]] = {}
        self.invites = OriginRate(per_s=rates.invite_per_minute / 60, burst=rates.invite_burst, clock=parts.clock)

    def guard(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that authenticates and then lets `answer` answer."""

        async def guarded(request: Request) -> Response:
            return await answer(await self._authenticate(request))

        return guarded

    async def _authenticate(self, request: Request) -> Asking:
        try:
            asking = await self._check(request)
        except UnauthenticatedError as error:
            with suppress(RateLimitedError):
                self._failures.take(request.address)
            raise ServerUnauthenticatedError(str(error)) from None
        await self._take(asking.origin)
        self._parts.peer_seen(asking.origin)
        return asking

    async def _take(self, origin: ServerName) -> None:
        """Count a request; servers that share no room with us have few to make.

        Raises:
            RateLimitedError: too many; `retry_after_s` says when the next is welcome.
        """
        self._origins.take(origin)
        try:
            self._strangers.take(origin)
        except RateLimitedError:
            now_s = trio.current_time()
            if now_s < self._friends_until_s.get(origin, 0.0):
                return
            if not await self._parts.ledger.read(members.shares_room_with_server, origin):
                raise
            if len(self._friends_until_s) >= MAX_RATE_BUCKETS:
                self._friends_until_s.clear()
            self._friends_until_s[origin] = now_s + KEY_MEMORY_S

    async def _check(self, request: Request) -> Asking:
        claims = choose(request.headers.all("authorization"), self._parts.server)
        body = await request.body(MAX_JSON_BODY_BYTES)
        content = _content(body)
        signed = Signed(request.method, request.target, _exact(body, content))
        key_ids = [claim.key_id for claim in claims]
        keys = await self._keys_of(claims[0].origin, key_ids, request.address)
        refusal: UnauthenticatedError | None = None
        for claim in claims:
            try:
                check(claim, keys, self._parts.server, signed)
            except InvalidInputError:
                raise UnauthenticatedError("the body cannot have been signed") from None
            except UnauthenticatedError as error:
                refusal = error
            else:
                return Asking(claim.origin, request, content)
        raise refusal or UnauthenticatedError("the request is not signed")

    async def _keys_of(self, origin: ServerName, key_ids: Sequence[KeyId], address: str) -> Mapping[KeyId, VerifyKey]:
        """Return the origin's keys, remembered for `KEY_MEMORY_S`: a busy peer must not cost a look-up each request.

        An address that sent too many forged requests is not looked up for; peers whose keys are remembered pass even
        from there, as behind a proxy every address may be the same.
        """
        known = self._keys.get(origin)
        now_s = trio.current_time()
        if known is not None and now_s < known[0] and all(key_id in known[1] for key_id in key_ids):
            return known[1]
        self._failures.check(address)
        keys = await self._parts.server_keys.keys_for(origin, key_ids, self._parts.clock.wall_ms())
        if len(self._keys) >= MAX_RATE_BUCKETS:
            self._keys.clear()
        if keys:
            self._keys[origin] = (now_s + KEY_MEMORY_S, keys)
        return keys


def _content(body: bytes) -> object:
    if not body:
        return None
    content = canonical_json.parse(body)
    if content is None:
        raise NotJsonError("the body is null")
    return content


def _exact(body: bytes, content: object) -> object:
    """Return what was signed: integers of more than 64 bits come out of the fast parser as floats."""
    return json.loads(body) if _LONG_NUMBER.search(body) else content
