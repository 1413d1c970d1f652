"""The sections of a sync that stand for rooms: joined, left, invited.

Client-server API, "Syncing"; each function reads one room in one snapshot.
"""

from typing import Any

from relay.base.ids import RoomId, UserId
from relay.delivery.sync import state as sync_state
from relay.delivery.sync.timeline import stretch
from relay.delivery.sync.view import View
from relay.delivery.unread import Unread
from relay.household import account_data, consent
from relay.rooms.matrix import receipts, timeline
from relay.rooms.matrix.membership import invites
from relay.rooms.matrix.storage import graph, members, state
from relay.rooms.matrix.storage.members import MembershipRow
from relay.store.ledger import Index

_SHOWN_TO_INVITED = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


class RoomSections:
    """Writes one room's part of a sync answer."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread

    def joined(self, index: Index, view: View, room: RoomId, *, fresh: bool, check: bool) -> dict[str, Any] | None:
        """Return the section of a room the person is in, None if there is nothing to tell.

        Args:
            index: the snapshot.
            view: what is asked.
            room: the room.
            fresh: whether the app does not know the room yet: all state is told.
            check: whether the person was not in the room the whole time since.
        """
        after = None if fresh else view.since
        told = stretch(index, view, room, after, view.up_to, check=check)
        all_state = after is None or view.full_state
        summary = self._summary(index, view, room) if all_state or _members_in(told.shown) else {}
        heroes = summary.get("m.heroes", ())
        if after is None or view.full_state:
            told_state = sync_state.whole(index, view, room, told, heroes)
        else:
            told_state = sync_state.changes(index, view, room, told, heroes)
            if not summary and _members_in(told_state):
                summary = self._summary(index, view, room)
        ephemeral = _ephemeral(index, view, room, after)
        own_data = _account_data(index, view, room, fresh=fresh)
        if not (all_state or told.events or told.limited or told_state or ephemeral or own_data):
            return None
        counts = self._unread.counts(index, view.user, room)
        section = {
            "timeline": told.render(view),
            "state_after" if view.state_after else "state": {"events": told_state},
            "ephemeral": {"events": ephemeral},
            "account_data": {"events": own_data},
            "summary": summary,
        }
        if view.filters.timeline.threads_apart:
            section["unread_notifications"] = counts.main()
            section["unread_thread_notifications"] = counts.threads()
        else:
            section["unread_notifications"] = counts.total()
        return section

    def left(self, index: Index, view: View, room: RoomId, row: MembershipRow, *, fresh: bool) -> dict[str, Any]:
        """Return the section of a room the person left or was put out of, as it was then."""
        if not _was_joined(index, view, row):
            return self.gone(view)
        after = None if fresh else view.since
        up_to = min(row.position, view.up_to)
        told = stretch(index, view, room, after, up_to, check=True)
        told_state: list[dict[str, Any]] = []
        if fresh or told.limited or view.full_state:
            since = None if fresh or view.full_state else after
            told_state = sync_state.at_departure(index, view, told, row.event_id, since)
        return {
            "timeline": told.render(view),
            "state_after" if view.state_after else "state": {"events": told_state},
            "account_data": {"events": _account_data(index, view, room)},
        }

    def gone(self, view: View) -> dict[str, Any]:
        """Return the section of a room whose invite was declined or taken back: nothing of it was ever seen."""
        return {
            "timeline": {"events": [], "limited": False, "prev_batch": timeline.token(timeline.order_at(view.up_to))},
            "state_after" if view.state_after else "state": {"events": []},
            "account_data": {"events": []},
        }

    def invited(self, index: Index, view: View, room: RoomId) -> dict[str, Any] | None:
        """Return the section of an invite, None where it comes from somebody ignored or none are wanted at all."""
        if consent.blocks_invites(index, view.user):
            return None
        asked = invites.get(index, view.user, room)
        if asked is not None:
            shown, sender = asked.shown(), str(asked.event.sender)
        else:
            shown, sender = _stripped(index, room, view.user)
        if not shown or sender in view.ignored:
            return None
        return {"invite_state": {"events": shown}}

    def _summary(self, index: Index, view: View, room: RoomId) -> dict[str, Any]:
        joined, invited = members.counts(index, room)
        return {
            "m.heroes": members.heroes(index, room, view.user),
            "m.joined_member_count": joined,
            "m.invited_member_count": invited,
        }


def _ephemeral(index: Index, view: View, room: RoomId, after: int | None) -> list[dict[str, Any]]:
    wanted = view.filters.ephemeral
    if not wanted.wants_room(room):
        return []
    events: list[dict[str, Any]] = []
    if wanted.wants_type("m.receipt"):
        content = receipts.receipts_since(index, room, after or 0, view.user)
        if content:
            events.append({"type": "m.receipt", "content": content})
    if room in view.typing and wanted.wants_type("m.typing"):
        users = sorted(user for user in view.typing[room] if user not in view.ignored)
        events.append({"type": "m.typing", "content": {"user_ids": users}})
    return events


def _account_data(index: Index, view: View, room: RoomId, *, fresh: bool = False) -> list[dict[str, Any]]:
    wanted = view.filters.room_account_data
    if not wanted.wants_room(room):
        return []
    # Tags may be older than the room is here: those of a person who came from another box.
    found = account_data.of_room(index, view.user, room) if fresh else view.room_account_data.get(room, {})
    events = ({"type": data_type, "content": content} for data_type, content in found.items())
    return [event for event in events if wanted.wants(event)]


def _stripped(index: Index, room: RoomId, user: UserId) -> tuple[list[dict[str, Any]], str]:
    """Return stripped state of a room that is here, and who invites (client-server API, "Stripped state")."""
    invite = state.current_event(index, room, sync_state.MEMBER, user)
    if invite is None:
        return [], ""
    keys = [(kind, "") for kind in _SHOWN_TO_INVITED] + [(sync_state.MEMBER, invite.sender)]
    events = [*state.current_events(index, room, keys).values(), invite]
    return [
        {"type": event.type, "state_key": event.state_key, "sender": event.sender, "content": dict(event.content)}
        for event in events
    ], invite.sender


def _was_joined(index: Index, view: View, row: MembershipRow) -> bool:
    key = (sync_state.MEMBER, view.user)
    before = state.state_before(index, row.event_id, [key]) if row.event_id else {}
    stored = graph.event(index, before[key]) if key in before else None
    return stored is not None and stored.event.content.get("membership") == "join"


def _members_in(events: list[dict[str, Any]]) -> bool:
    return any(event.get("type") == sync_state.MEMBER for event in events)
