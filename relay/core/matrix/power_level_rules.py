"""The rules for `m.room.power_levels`: rule 9 of room versions 10 and 11, rule 10 of 12, "Authorization rules"."""

from collections.abc import Mapping
from typing import Any, Final

from relay.core.matrix.events import Event
from relay.core.matrix.power_levels import POWER_LEVELS, PowerLevels, State
from relay.core.matrix.rule_parts import looks_like_user_id, refuse

_NAMED: Final = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
_TABLES: Final = ("events", "notifications")


def check_power_levels(event: Event, state: State) -> None:
    """Check a change of power levels.

    Raises:
        NotAllowedError: it is malformed, or changes something above the sender's own level.
    """
    levels = PowerLevels.of(state, event.version)
    _check_form(event.content)
    users = event.content.get("users", {})
    if levels.supreme and not levels.creators.isdisjoint(users):
        refuse("creators have no entry in power levels")
    # An event with another state key has no effect and nothing before it that could forbid it.
    current = state.get((POWER_LEVELS, event.state_key or ""))
    if current is None:
        return
    own = levels.level_of(event.sender)
    for name in _NAMED:
        _check_change(current.content.get(name), event.content.get(name), own)
    for table in _TABLES:
        old, new = _table(current.content, table), _table(event.content, table)
        for name in old.keys() | new.keys():
            _check_change(old.get(name), new.get(name), own)
    _check_users(_table(current.content, "users"), users, event.sender, own)


def _check_form(content: Mapping[str, Any]) -> None:
    for name in _NAMED:
        if name in content and type(content[name]) is not int:
            refuse(f"power levels: {name} is not an integer")
    for name in (*_TABLES, "users"):
        table = content.get(name, {})
        if not isinstance(table, Mapping) or any(type(level) is not int for level in table.values()):
            refuse(f"power levels: {name} is not an object of integers")
    if not all(looks_like_user_id(user) for user in content.get("users", ())):
        refuse("power levels: users holds something that is not a user id")


def _check_users(old: Mapping[str, Any], new: Mapping[str, Any], sender: str, own: int) -> None:
    for user in old.keys() | new.keys():
        before, after = old.get(user), new.get(user)
        if before == after:
            continue
        if user != sender and before == own:
            refuse("power levels: an equal's level is changed")
        _check_change(before, after, own)


def _check_change(before: object, after: object, own: int) -> None:
    if before == after:
        return
    for level in (before, after):
        if type(level) is int and level > own:
            refuse("power levels: a level above the sender's own is changed or given")


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, Mapping) else {}
