"""The rules for `m.room.power_levels`: rule 9 of room versions 6 to 11, rule 10 of 12, "Authorization rules"."""

from collections.abc import Mapping
from typing import Any, Final

from relay.core.matrix.events import Event
from relay.core.matrix.power_levels import POWER_LEVELS, PowerLevels, State, read_level
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.rule_parts import looks_like_user_id, refuse

_NAMED: Final = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
_TABLES: Final = ("events", "notifications")


def check_power_levels(event: Event, state: State) -> None:
    """Check a change of power levels.

    Raises:
        NotAllowedError: it is malformed, or changes something above the sender's own level.
    """
    levels = PowerLevels.of(state, event.version)
    _check_form(event.content, event.version)
    users = event.content.get("users", {})
    if levels.supreme and not levels.creators.isdisjoint(users):
        refuse("creators have no entry in power levels")
    # An event with another state key has no effect and nothing before it that could forbid it.
    current = state.get((POWER_LEVELS, event.state_key or ""))
    if current is None:
        return
    own, rules = levels.level_of(event.sender), event.version
    for name in _NAMED:
        _changed(current.content.get(name), event.content.get(name), own, rules)
    for table in _TABLES:
        old, new = _table(current.content, table), _table(event.content, table)
        for name in old.keys() | new.keys():
            _changed(old.get(name), new.get(name), own, rules)
    old = _table(current.content, "users")
    for user in old.keys() | users.keys():
        if _changed(old.get(user), users.get(user), own, rules) == own and user != event.sender:
            refuse("power levels: an equal's level is changed")


def _check_form(content: Mapping[str, Any], version: RoomVersion) -> None:
    """Check that every level can be read.

    Versions before 10 ask it of `users` only, but there deployed servers fail on what they cannot read.
    """
    for name in _NAMED:
        if name in content and read_level(content[name], integers_only=version.integer_levels) is None:
            refuse(f"power levels: {name} is not an integer")
    for name in (*_TABLES, "users"):
        table = content.get(name, {})
        if not isinstance(table, Mapping):
            refuse(f"power levels: {name} is not an object")
        if any(read_level(level, integers_only=version.integer_levels) is None for level in table.values()):
            refuse(f"power levels: {name} holds a level that is not an integer")
    if not all(looks_like_user_id(user) for user in content.get("users", ())):
        refuse("power levels: users holds something that is not a user id")


def _changed(old: object, new: object, own: int, version: RoomVersion) -> int | None:
    """Return the level before the change; None where there was none or nothing changes."""
    before, after = (read_level(value, integers_only=version.integer_levels) for value in (old, new))
    if before == after:
        return None
    if any(level is not None and level > own for level in (before, after)):
        refuse("power levels: a level above the sender's own is changed or given")
    return before


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, Mapping) else {}
