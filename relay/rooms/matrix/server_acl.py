"""Which servers a room shuts out.

Source: Matrix C-S v1.19, `m.room.server_acl`; names are compared without case since v1.19.
"""

import ipaddress

from relay.base.errors import ForbiddenError
from relay.base.ids import RoomId, ServerName, split_server_name
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import state
from relay.store.ledger import Index


def check(index: Index, room: RoomId, server: ServerName) -> None:
    """Check that the room lets the server take part.

    Raises:
        ForbiddenError: its access list shuts the server out.
    """
    listed = state.current_event(index, room, "m.room.server_acl")
    if listed is not None and not allows(listed, server):
        raise ForbiddenError("this server is shut out of the room")


def allows(listed: Event, server: ServerName) -> bool:
    """Return whether an access list event lets the server take part."""
    host, _ = split_server_name(server)
    host = host.lower()
    if listed.content.get("allow_ip_literals") is False and _is_ip(host):
        return False
    if any(_matches(host, pattern) for pattern in _patterns(listed, "deny")):
        return False
    return any(_matches(host, pattern) for pattern in _patterns(listed, "allow"))


def _patterns(listed: Event, name: str) -> list[str]:
    patterns = listed.content.get(name)
    return [entry for entry in patterns if isinstance(entry, str)] if isinstance(patterns, list) else []


def _matches(host: str, pattern: str) -> bool:
    # By hand: a regular expression takes for ever over a hostile list.
    pattern = pattern.lower()
    at = star = resume = 0
    seen_star = False
    position = 0
    while position < len(host):
        if at < len(pattern) and pattern[at] == "*":
            seen_star, star, resume = True, at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", host[position]):
            at += 1
            position += 1
        elif seen_star:
            at, resume = star + 1, resume + 1
            position = resume
        else:
            return False
    return not pattern[at:].strip("*")


def _is_ip(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
