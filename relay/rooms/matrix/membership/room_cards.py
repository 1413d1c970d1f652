"""What a person needs to find a room again from another server: its name, its addresses, who to ask, its rules."""

from collections import Counter
from typing import Any

from relay.base.ids import RoomId, ServerName, UserId, server_of
from relay.core.matrix.power_levels import CREATE_KEY, CREATOR_LEVEL, POWER_LEVELS_KEY, PowerLevels
from relay.rooms.matrix import aliases
from relay.rooms.matrix.membership import invites
from relay.rooms.matrix.storage import graph, members, state
from relay.store.ledger import Index

_STAYS = ("join", "invite", "knock")
_NAME, _ALIAS, _RULES, _CRYPT = (
    (kind, "") for kind in ("m.room.name", "m.room.canonical_alias", "m.room.join_rules", "m.room.encryption")
)
_MOST_VIA = 5
_MOST_ALIASES = 10
_MOST_HEROES = 3


def rooms_to_keep(index: Index, user: UserId) -> list[RoomId]:
    """Return the rooms a person is in, was invited to or knocked at, in a fixed order."""
    return [room for room, row in members.rooms_of(index, user).items() if row.membership in _STAYS]


def room_card(index: Index, user: UserId, room: RoomId, here: ServerName) -> dict[str, Any]:
    """Return what `user` takes along of `room`.

    `room`, `membership`, `name`, `aliases`, `via` (servers, this box last), `encrypted`, `join_rule`, `members` (how
    many are joined) and `power` (of the user); of a room that is not here only what its invite shows.
    """
    membership = members.membership(index, room, user) or "leave"
    if graph.room(index, room) is None:
        return {"room": room, "membership": membership, **_from_invite(index, user, room)}
    shown = state.current_events(index, room, [_NAME, _ALIAS, _RULES, _CRYPT, CREATE_KEY, POWER_LEVELS_KEY])
    content = {key: dict(event.content) for key, event in shown.items()}
    joined, _ = members.counts(index, room)
    heroes = members.heroes(index, room, user)[:_MOST_HEROES]
    return {
        "room": room,
        "membership": membership,
        "name": _text(content.get(_NAME, {}).get("name")) or ", ".join(heroes),
        "aliases": _aliases(index, room, content.get(_ALIAS, {})),
        "via": _via(index, room, here),
        "encrypted": _CRYPT in content,
        "join_rule": _text(content.get(_RULES, {}).get("join_rule")) or "invite",
        "members": joined,
        "power": min(_power(index, room, user), 100),
    }


def _power(index: Index, room: RoomId, user: UserId) -> int:
    info = graph.room(index, room)
    held = state.current_events(index, room, (CREATE_KEY, POWER_LEVELS_KEY))
    if info is None or CREATE_KEY not in held:
        return 0
    return min(PowerLevels.of(held, info.version).level_of(user), CREATOR_LEVEL)


def _aliases(index: Index, room: RoomId, content: dict[str, Any]) -> list[str]:
    alternative = content.get("alt_aliases")
    named = [content.get("alias"), *(alternative if isinstance(alternative, list) else [])]
    found = [alias for alias in named if isinstance(alias, str)] + [
        str(alias) for alias in aliases.of_room(index, room)
    ]
    return list(dict.fromkeys(found))[:_MOST_ALIASES]


def _via(index: Index, room: RoomId, here: ServerName) -> list[ServerName]:
    # This box last: it is the one that may be gone.
    counted = Counter(server_of(user) for user, _ in members.members(index, room, "join"))
    others = [server for server, _ in counted.most_common() if server != here]
    return [*others[: _MOST_VIA - 1], *([here] if here in counted else [])]


def _from_invite(index: Index, user: UserId, room: RoomId) -> dict[str, Any]:
    invite = invites.get(index, user, room)
    shown = {} if invite is None else {event.get("type"): event.get("content", {}) for event in invite.shown()}
    via = [] if invite is None else [invite.origin, server_of(UserId(invite.event.sender))]
    alias = shown.get("m.room.canonical_alias", {}).get("alias")
    return {
        "name": _text(shown.get("m.room.name", {}).get("name")) or "",
        "aliases": [alias] if isinstance(alias, str) else [],
        "via": list(dict.fromkeys(via)),
        "encrypted": "m.room.encryption" in shown,
        "join_rule": _text(shown.get("m.room.join_rules", {}).get("join_rule")) or "invite",
        "members": 0,
        "power": 0,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
