"""Rooms made here and events sent from here."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.base.clock import Clock
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId
from relay.core.matrix.authorization import authorize
from relay.core.matrix.building import draft, hash_and_sign
from relay.core.matrix.room_versions import RoomVersion, room_version
from relay.core.matrix.signing import SigningKey
from relay.rooms.matrix import aliases
from relay.rooms.matrix.deciding.drafting import Draft, append, held_room
from relay.rooms.matrix.storage.commit import Decision, commit, put_room
from relay.rooms.matrix.storage.state_groups import EMPTY
from relay.rooms.matrix.storage.stored_event import Flags
from relay.rooms.matrix.tables import PUBLISH_ROOM
from relay.store.ledger import Change, Ledger


@dataclass(frozen=True, slots=True)
class InitialEvent:
    """One state event of a new room, sent by its creator."""

    type: str
    state_key: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPlan:
    """A room to be made. What the presets mean is decided by whoever writes the plan.

    Attributes:
        version: room version id.
        creation: content of m.room.create without what this box fills in (room_version, creator).
        member: content of the creator's join beside `membership` (displayname, avatar_url...).
        events: state after the join, in order: power levels, join rules, history visibility...
        alias: local alias to bind, None for none.
        published: whether it is listed in the directory.
    """

    version: str
    creation: Mapping[str, Any] = field(default_factory=dict)
    member: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[InitialEvent] = ()
    alias: RoomAlias | None = None
    published: bool = False


class RoomWriter:
    """The one way in which users of this box change rooms that it is in. Every answer is durable."""

    def __init__(self, ledger: Ledger, server: ServerName, key: SigningKey, clock: Clock) -> None:
        self._ledger = ledger
        self._server = server
        self._key = key
        self._clock = clock

    async def create(
        self,
        creator: UserId,
        plan: RoomPlan,
        *,
        extra: Callable[[Change, RoomId], None] | None = None,
    ) -> RoomId:
        """Make a room with everything in the plan, in one change; `extra` runs inside it.

        Raises:
            UnsupportedRoomVersionError: the version is not one this box makes.
            ForbiddenError: the rules refuse an event of the plan.
            ConflictError: the alias is taken.
        """
        version = room_version(plan.version)
        opaque = secrets.token_urlsafe(18)
        return await self._ledger.run(
            self._create, creator, plan, version=version, opaque=opaque, now_ms=self._clock.wall_ms(), extra=extra
        )

    def _create(
        self,
        change: Change,
        creator: UserId,
        plan: RoomPlan,
        *,
        version: RoomVersion,
        opaque: str,
        now_ms: int,
        extra: Callable[[Change, RoomId], None] | None,
    ) -> RoomId:
        room_id = self._begin(change, creator, plan, version=version, opaque=opaque, now_ms=now_ms)
        member = InitialEvent("m.room.member", creator, {**plan.member, "membership": "join"})
        for event in (member, *plan.events):
            wanted = Draft(
                sender=creator, type=event.type, content=event.content, state_key=event.state_key, now_ms=now_ms
            )
            append(change, held_room(change, room_id), wanted, self._server, self._key)
        if plan.alias is not None:
            aliases.create(change, plan.alias, room_id, creator)
        if plan.published:
            change.write(PUBLISH_ROOM, change.intern(room_id), 1)
        if extra is not None:
            extra(change, room_id)
        return room_id

    def _begin(
        self, change: Change, creator: UserId, plan: RoomPlan, *, version: RoomVersion, opaque: str, now_ms: int
    ) -> RoomId:
        content = {**plan.creation, "room_version": version.id}
        if not version.creator_is_sender:
            content["creator"] = creator
        raw = draft(
            version,
            room_id=None if version.room_id_is_hash else RoomId(f"!{opaque}:{self._server}"),
            sender=creator,
            event_type="m.room.create",
            content=content,
            state_key="",
            prev_events=(),
            auth_events=(),
            depth=1,
            origin_server_ts=now_ms,
        )
        event = hash_and_sign(raw, version, self._server, self._key)
        authorize(event, {})
        number = int(change.value("SELECT max(number) FROM events") or 0) + 1
        room = put_room(change, event.room_id, version.id, number)
        commit(change, room, Decision(event=event, before=EMPTY, flags=Flags.LOCAL, tips=()), self._server)
        return event.room_id

    async def send(
        self,
        room: RoomId,
        sender: UserId,
        type: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        redacts: EventId | None = None,
        now_ms: int | None = None,
        extra: Callable[[Change, EventId], None] | None = None,
    ) -> EventId:
        """Build, sign, authorize and commit an event; return its id once it is durable.

        `extra` runs inside the same change: the row that makes a client's transaction idempotent.

        Raises:
            NotFoundError: the room is not known here, or the event to redact is not in it.
            ForbiddenError: the rules of the room refuse the event.
            InvalidInputError: it is larger than an event may be, or has no canonical form.
        """
        wanted = Draft(
            sender=sender,
            type=type,
            content=content,
            state_key=state_key,
            redacts=redacts,
            now_ms=self._clock.wall_ms() if now_ms is None else now_ms,
        )
        return await self._ledger.run(self.send_in, room, wanted, extra)

    def send_in(
        self,
        change: Change,
        room: RoomId,
        wanted: Draft,
        extra: Callable[[Change, EventId], None] | None = None,
    ) -> EventId:
        """As `send`, inside a change that the caller runs."""
        event_id = append(change, held_room(change, room), wanted, self._server, self._key)
        if extra is not None:
            extra(change, event_id)
        return event_id
