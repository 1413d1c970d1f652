"""Rooms for tests: events are built, signed and put into a state without a store."""

from collections.abc import Mapping
from typing import Any

from relay.base.ids import EventId, RoomId, ServerName, UserId
from relay.core.matrix import authorization, building, signing
from relay.core.matrix.events import Event, StateKey
from relay.core.matrix.room_versions import room_version

ALICE = UserId("@alice:home")
BOB = UserId("@bob:away")


class Room:
    """A room that Alice made and is in. `make` builds any event on top of it; `add` authorizes it and keeps it."""

    def __init__(self, version: str, create: Mapping[str, Any] | None = None) -> None:
        self.version = room_version(version)
        self.server = ServerName("home")
        self.signing_key = signing.generate(b"h" * 32, "h")
        self.state: dict[StateKey, Event] = {}
        self.last: tuple[EventId, ...] = ()
        self.depth = 0
        self.now_ms = 1_000_000
        self.room_id = None if self.version.room_id_is_hash else RoomId("!room:home")
        content = {
            "room_version": version,
            **({} if self.version.creator_is_sender else {"creator": ALICE}),
            **(create or {}),
        }
        first = self.add(self.make("m.room.create", content, state_key=""))
        self.room_id = first.room_id
        self.add(self.member(ALICE, "join"))

    def make(
        self,
        event_type: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        sender: str = ALICE,
        redacts: EventId | None = None,
        auth_events: list[EventId] | None = None,
        prev_events: tuple[EventId, ...] | None = None,
    ) -> Event:
        """Build and sign one event, citing what the state has for it."""
        shape = authorization.EventShape(event_type, sender, state_key, content)
        keys = sorted(authorization.auth_types(shape, self.version))
        cited = [self.state[key].event_id for key in keys if key in self.state]
        self.now_ms += 1000
        raw = building.draft(
            self.version,
            room_id=self.room_id,
            sender=UserId(sender),
            event_type=event_type,
            content=content,
            state_key=state_key,
            redacts=redacts,
            prev_events=self.last if prev_events is None else prev_events,
            auth_events=cited if auth_events is None else auth_events,
            depth=self.depth + 1,
            origin_server_ts=self.now_ms,
        )
        server = ServerName(sender.partition(":")[2])
        return building.hash_and_sign(raw, self.version, server, self.signing_key)

    def add(self, event: Event) -> Event:
        """Authorize the event and make it the room's newest."""
        authorization.authorize(event, self.state)
        return self.force(event)

    def force(self, event: Event) -> Event:
        """Make the event the room's newest, allowed or not."""
        if event.is_state:
            self.state[event.key] = event
        self.last, self.depth = (event.event_id,), event.depth
        return event

    def member(self, user: str, membership: str, *, sender: str | None = None, **content: object) -> Event:
        """Build a change of membership, by the user unless told."""
        return self.make("m.room.member", {"membership": membership, **content}, state_key=user, sender=sender or user)

    def message(self, body: str, *, sender: str = ALICE) -> Event:
        """Build a message."""
        return self.make("m.room.message", {"msgtype": "m.text", "body": body}, sender=sender)
