"""Helping other servers' users in and out of rooms that this box is in, and hearing their invites.

Source: Matrix S2S v1.19, "Joining Rooms", "Leaving Rooms (Rejecting Invites)", "Inviting to a room".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import ForbiddenError, InvalidInputError, MissingParamError, NotFoundError
from relay.base.ids import EventId, RoomId, ServerName, UserId, parse_user_id, server_of
from relay.base.limits import MAX_INVITE_STRIPPED_BYTES
from relay.core.matrix import canonical_json
from relay.core.matrix.building import hash_and_sign
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import UnsupportedRoomVersionError, room_version
from relay.core.matrix.signing import SigningKey, add_signature
from relay.rooms.matrix import server_acl
from relay.rooms.matrix.deciding.acceptance import Manner, Missing
from relay.rooms.matrix.deciding.accepting import Acceptor
from relay.rooms.matrix.deciding.checking import EventChecker
from relay.rooms.matrix.deciding.drafting import Draft, authorize_now, held_room, lay_out
from relay.rooms.matrix.membership import invites
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import members, state
from relay.rooms.matrix.storage.chains import Chains
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Change, Index, Ledger

MayInvite = Callable[[Index, UserId, UserId, RoomId], None]
"""(snapshot, sender, invited user, room): raises ForbiddenError or NotFoundError where the question is not put."""


_RESTRICTED = ("restricted", "knock_restricted")


class IncompatibleRoomVersionError(InvalidInputError):
    """The room has a version that the asking server does not take part in.

    Attributes:
        matrix_fields: what the reply says beside code and text.
    """

    code = "room.incompatible_version"

    def __init__(self, version: str) -> None:
        super().__init__("the room has a version that the asking server does not know")
        self.matrix_fields = {"room_version": version}


class UnableToAuthoriseJoinError(ForbiddenError):
    """The room admits members of other rooms, and this box does not vouch for them."""

    code = "room.unable_to_authorise_join"


class Hosting:
    """Answers for other servers that change something."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        keys: ServerKeys,
        server: ServerName,
        key: SigningKey,
        clock: Clock,
        may_invite: MayInvite,
    ) -> None:
        self._ledger = ledger
        self._checker = EventChecker(keys)
        self._acceptor = Acceptor(ledger, server)
        self._chains = Chains(ledger)
        self._server = server
        self._key = key
        self._clock = clock
        self._may_invite = may_invite

    async def make_join(
        self, origin: ServerName, room: RoomId, user: UserId, versions: Sequence[str]
    ) -> dict[str, Any]:
        """Return {"room_version", "event"}: the template of a join.

        Raises:
            NotFoundError: this box is not in the room.
            ForbiddenError: the user is not the origin's, or the room does not let it in.
            IncompatibleRoomVersionError: the version is not among `versions`.
        """
        return await self._ledger.read(
            self._make, origin, room, user, membership="join", versions=versions, now_ms=self._clock.wall_ms()
        )

    async def make_leave(self, origin: ServerName, room: RoomId, user: UserId) -> dict[str, Any]:
        """Return {"room_version", "event"}: the template of a leave. Errors as `make_join`."""
        return await self._ledger.read(
            self._make, origin, room, user, membership="leave", versions=None, now_ms=self._clock.wall_ms()
        )

    def _make(
        self,
        index: Index,
        origin: ServerName,
        room_id: RoomId,
        user: UserId,
        *,
        membership: str,
        versions: Sequence[str] | None,
        now_ms: int,
    ) -> dict[str, Any]:
        if server_of(user) != origin:
            raise ForbiddenError("the user is not one of the asking server's")
        room = open_room(index, room_id, self._server, origin)
        if versions is not None and room.version.id not in versions:
            raise IncompatibleRoomVersionError(room.version.id)
        wanted = Draft(
            sender=user, type="m.room.member", content={"membership": membership}, state_key=user, now_ms=now_ms
        )
        raw = lay_out(index, room, wanted)
        try:
            authorize_now(index, room, hash_and_sign(raw, room.version, self._server, self._key))
        except ForbiddenError:
            rule = state.current_event(index, room_id, "m.room.join_rules")
            if membership == "join" and rule is not None and rule.content.get("join_rule") in _RESTRICTED:
                raise UnableToAuthoriseJoinError("this server does not vouch for restricted joins") from None
            raise
        return {"room_version": room.version.id, "event": raw}

    async def send_join(
        self, origin: ServerName, room: RoomId, event_id: EventId, pdu: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take a join; return {"state", "auth_chain", "event", ...} as v2/send_join answers.

        Raises:
            NotFoundError: this box is not in the room.
            ForbiddenError: the room does not let the user in.
            InvalidInputError: the event is not a join of one of the origin's users, good in hash and signature.
        """
        stored = await self._take(origin, room, event_id, pdu, "join")
        return {
            **await self._chains.state_and_chain(stored),
            "event": stored.event.raw,
            "members_omitted": False,
            "origin": self._server,
            "servers_in_room": sorted(await self._ledger.read(members.joined_servers, room)),
        }

    async def send_leave(
        self, origin: ServerName, room: RoomId, event_id: EventId, pdu: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take a leave; errors as `send_join`."""
        await self._take(origin, room, event_id, pdu, "leave")
        return {}

    async def _take(
        self, origin: ServerName, room: RoomId, event_id: EventId, pdu: Mapping[str, Any], membership: str
    ) -> StoredEvent:
        held = await self._ledger.read(open_room, room, self._server, origin)
        event = await self._checked(pdu, held.version.id, event_id)
        _check_membership(event, room, membership)
        if server_of(UserId(event.sender)) != origin or event.state_key != event.sender:
            raise InvalidInputError("the event is not one of the asking server's user about itself")
        stored = await self._acceptor.accept(room, event, manner=Manner(depart=True), strict=True)
        if isinstance(stored, Missing):
            raise InvalidInputError("the event points to events that are not known here")
        if stored.rejected or stored.soft_failed:
            raise ForbiddenError("the rules of the room refuse the event")
        return stored

    async def _checked(self, pdu: Mapping[str, Any], version: str, event_id: EventId) -> Event:
        checked = (await self._checker.check([pdu], room_version(version)))[0]
        if checked.event is None:
            raise InvalidInputError(checked.error or "malformed event")
        if checked.event.event_id != event_id or not checked.intact:
            raise InvalidInputError("the event has another id or hash than given")
        return checked.event

    async def receive_invite(
        self,
        origin: ServerName,
        room: RoomId,
        event_id: EventId,
        *,
        version: str,
        pdu: Mapping[str, Any],
        stripped: Sequence[Any],
    ) -> dict[str, Any]:
        """Put a stranger's question to a user here; return the invite with our signature, as federated.

        Nothing is fetched. Where this box is in the room already, the invite comes again in a transaction.

        Raises:
            IncompatibleRoomVersionError: this box does not take part in such rooms.
            InvalidInputError: the event is not an invite of the origin's user to one of ours, good in signature, or
                the stripped state is not what the room version asks for.
            ForbiddenError: the room shuts the origin out, or the user does not want to be asked.
            NotFoundError: there is no such user.
            RateLimitedError: too many questions wait.
        """
        try:
            event = await self._checked(pdu, room_version(version).id, event_id)
        except UnsupportedRoomVersionError:
            raise IncompatibleRoomVersionError(version) from None
        _check_membership(event, room, "invite")
        invited = parse_user_id(event.key[1])
        if server_of(UserId(event.sender)) != origin or server_of(invited) != self._server:
            raise InvalidInputError("the event is not an invite of the asking server's user to one of ours")
        shown = _read_stripped(stripped, event)
        signed = add_signature(event, self._server, self._key)
        await self._ledger.run(self._put, invited, signed, shown, origin=origin, now_ms=self._clock.wall_ms())
        return dict(signed.raw)

    def _put(
        self,
        change: Change,
        invited: UserId,
        event: Event,
        stripped: list[dict[str, Any]],
        *,
        origin: ServerName,
        now_ms: int,
    ) -> None:
        self._may_invite(change, UserId(event.sender), invited, event.room_id)
        if members.server_joined(change, event.room_id, self._server):
            server_acl.check(change, event.room_id, origin)
            return
        invites.put(change, invited, event, stripped, origin=origin, now_ms=now_ms)


def open_room(index: Index, room_id: RoomId, here: ServerName, origin: ServerName) -> RoomRow:
    """Return a room that this box is in and that lets the origin take part.

    Raises:
        NotFoundError: this box is not in the room.
        ForbiddenError: the room shuts the origin out.
    """
    if not members.server_joined(index, room_id, here):
        raise NotFoundError("this server is not in the room")
    server_acl.check(index, room_id, origin)
    return held_room(index, room_id)


def _check_membership(event: Event, room: RoomId, membership: str) -> None:
    if event.type != "m.room.member" or event.content.get("membership") != membership or event.state_key is None:
        raise InvalidInputError(f"the event is not a membership event with membership {membership}")
    if event.room_id != room:
        raise InvalidInputError("the event is of another room")


def _read_stripped(stripped: Sequence[Any], invite: Event) -> list[dict[str, Any]]:
    """Return stripped state for apps. Entries may be whole events or stripped ones; unknown fields are dropped."""
    shown: list[dict[str, Any]] = []
    for entry in stripped:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), dict):
            raise InvalidInputError("an entry of invite_room_state is not an event")
        if not all(isinstance(entry.get(name), str) for name in ("type", "state_key", "sender")):
            raise InvalidInputError("an entry of invite_room_state is not a state event")
        shown.append({name: entry[name] for name in ("type", "state_key", "sender", "content")})
    if len(canonical_json.encode_lenient(shown)) > MAX_INVITE_STRIPPED_BYTES:
        raise InvalidInputError(f"invite_room_state is larger than {MAX_INVITE_STRIPPED_BYTES} bytes")
    if invite.version.room_id_is_hash and not any(entry["type"] == "m.room.create" for entry in shown):
        raise MissingParamError("invite_room_state holds no m.room.create")
    return shown


def invited_state(index: Index, room: RoomId) -> list[dict[str, Any]]:
    """Return what an invited server is shown of a room: whole events, as room version 12 asks for.

    Source: Matrix C-S v1.19, "Stripped state".
    """
    shown = ("create", "name", "avatar", "topic", "join_rules", "canonical_alias", "encryption")
    events = state.current_events(index, room, [(f"m.room.{name}", "") for name in shown])
    return [dict(event.raw) for event in events.values()]
