"""Sending events to rooms: messages, state, redactions (client-server API, "Sending events to a room")."""

from typing import Any

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError
from relay.base.ids import EventId, RoomId, ServerName, parse_event_id, parse_room_alias, parse_user_id
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import event_of, optional_text, room_of
from relay.client_api.inviting import Invites
from relay.client_api.rates import MessageRate
from relay.client_api.room_access import MEMBER
from relay.delivery.ledger import Change, Index, Ledger
from relay.delivery.sending import AlreadySentError, ClientTransaction, record, refuse_repeated, sending_path
from relay.household.sessions import Session
from relay.rooms.matrix import aliases
from relay.rooms.matrix.deciding.drafting import Draft
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.transport.message import Request

REDACTION = "m.room.redaction"
_STATE_ONLY = frozenset({"m.room.create", MEMBER})


class BadAliasError(InvalidInputError):
    """A canonical alias does not lead to its room (`M_BAD_ALIAS`)."""

    code = "room.bad_alias"


class Sending:
    """The endpoints that send."""

    def __init__(
        self,
        ledger: Ledger,
        writer: RoomWriter,
        invites: Invites,
        rate: MessageRate,
        *,
        clock: Clock,
        server: ServerName,
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._invites = invites
        self._rate = rate
        self._clock = clock
        self._server = server

    async def message(self, session: Session, request: Request) -> Reply:
        """`PUT /rooms/{roomId}/send/{eventType}/{txnId}`."""
        kind = request.params["eventType"]
        if kind in _STATE_ONLY:
            raise InvalidInputError(f"{kind} is a state event")
        content = await json_object(request)
        redacts = None
        if kind == REDACTION:
            target = content.get("redacts")
            redacts = parse_event_id(target) if isinstance(target, str) else None
            if redacts is None:
                raise InvalidInputError("redacts is missing")
        return await self._send(session, request, kind, content, redacts)

    async def redact(self, session: Session, request: Request) -> Reply:
        """`PUT /rooms/{roomId}/redact/{eventId}/{txnId}`."""
        reason = optional_text(await json_object(request), "reason")
        content = {} if reason is None else {"reason": reason}
        return await self._send(session, request, REDACTION, content, event_of(request))

    async def _send(
        self, session: Session, request: Request, kind: str, content: dict[str, Any], redacts: EventId | None
    ) -> Reply:
        room = room_of(request)
        transaction = ClientTransaction(session.user, session.device, sending_path(room, kind), request.params["txnId"])
        wanted = Draft(sender=session.user, type=kind, content=content, redacts=redacts, now_ms=self._clock.wall_ms())
        self._rate.check(session.user)
        try:
            event_id = await self._ledger.run(self._once, room, wanted, transaction)
        except AlreadySentError as repeated:
            return {"event_id": repeated.event_id}
        return {"event_id": event_id}

    def _once(self, change: Change, room: RoomId, wanted: Draft, transaction: ClientTransaction) -> EventId:
        refuse_repeated(change, transaction)
        event_id = self._writer.send_in(change, room, wanted)
        record(change, transaction, event_id, wanted.now_ms)
        return event_id

    async def state(self, session: Session, request: Request) -> Reply:
        """`PUT /rooms/{roomId}/state/{eventType}/{stateKey}`; the key may be empty or left out."""
        room, kind = room_of(request), request.params["eventType"]
        state_key = request.params.get("stateKey", "")
        content = await json_object(request)
        self._rate.check(session.user)
        if kind == MEMBER and content.get("membership") == "invite":
            extra = {key: value for key, value in content.items() if key != "membership"}
            event_id = await self._invites.invite(session.user, room, parse_user_id(state_key), extra)
        else:
            if kind == "m.room.canonical_alias":
                await self._ledger.read(_check_aliases, room, content, self._server)
            event_id = await self._writer.send(room, session.user, kind, content, state_key=state_key)
        return {"event_id": event_id}


def register(door: Door, sending: Sending) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v3/rooms/{roomId}"
    door.private("PUT", f"{rooms}/send/{{eventType}}/{{txnId}}", sending.message, grows=_is_no_redaction)
    door.private("PUT", f"{rooms}/redact/{{eventId}}/{{txnId}}", sending.redact)
    door.private("PUT", f"{rooms}/state/{{eventType}}", sending.state, grows=_is_no_leave)
    door.private("PUT", f"{rooms}/state/{{eventType}}/{{stateKey}}", sending.state, grows=_is_no_leave)


async def _is_no_redaction(request: Request) -> bool:
    return request.params["eventType"] != REDACTION


async def _is_no_leave(request: Request) -> bool:
    if request.params["eventType"] != MEMBER:
        return True
    return (await json_object(request)).get("membership") not in ("leave", "ban")


def _check_aliases(index: Index, room: RoomId, content: dict[str, Any], server: ServerName) -> None:
    """Let pass aliases of this server that lead to the room; other servers' are not ours to check."""
    listed = content.get("alt_aliases") or []
    main = content.get("alias")
    if not isinstance(listed, list):
        raise InvalidInputError("alt_aliases is not a list")
    for text in [*listed, *([main] if main else [])]:
        if not isinstance(text, str):
            raise InvalidInputError("an alias is not a text")
        alias = parse_room_alias(text)
        if alias.partition(":")[2] == server and aliases.resolve(index, alias) != room:
            raise BadAliasError("this alias does not lead to this room")
