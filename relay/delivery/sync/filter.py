"""What an app wants to see, compiled once a request: the specification's filters as predicates.

Client-server API, "Filtering" (definitions Filter, EventFilter, RoomEventFilter).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from re import compile as compile_pattern
from typing import Any, Self

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_FILTER_ENTRIES, MAX_TIMELINE_EVENTS
from relay.delivery.push_evaluation import split_path

DEFAULT_TIMELINE_EVENTS = 20

_TextTest = Callable[[str], bool]


def _everything(_text: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class EventFilter:
    """One EventFilter or RoomEventFilter; without entries it lets everything through."""

    limit: int = DEFAULT_TIMELINE_EVENTS
    lazy_members: bool = False
    threads_apart: bool = False
    """`unread_thread_notifications`."""
    contains_url: bool | None = None
    selective: bool = False
    """Whether any event could be held back; False saves asking for each one."""
    _type: _TextTest = field(default=_everything)
    _sender: _TextTest = field(default=_everything)
    _room: _TextTest = field(default=_everything)

    @classmethod
    def parse(cls, value: object, *, default_limit: int = DEFAULT_TIMELINE_EVENTS) -> Self:
        """Return the filter in `value`; its limit is bounded by `MAX_TIMELINE_EVENTS`.

        Raises:
            InvalidInputError: a field has the wrong type, or a list is too long.
        """
        if value is None:
            return cls(limit=default_limit)
        if not isinstance(value, Mapping):
            raise InvalidInputError("a filter is not an object")
        contains_url = value.get("contains_url")
        return cls(
            limit=_limit(value.get("limit"), default_limit),
            lazy_members=value.get("lazy_load_members") is True,
            threads_apart=value.get("unread_thread_notifications") is True,
            contains_url=contains_url if isinstance(contains_url, bool) else None,
            selective=isinstance(contains_url, bool)
            or any(value.get(key) is not None for key in ("types", "not_types", "senders", "not_senders")),
            _type=_type_test(value),
            _sender=_set_test(value, "senders"),
            _room=_set_test(value, "rooms"),
        )

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether an event in client format passes; fields it does not have (account data: sender) pass."""
        if not self.selective:
            return True
        if not self._type(event.get("type", "")):
            return False
        sender = event.get("sender")
        if sender is not None and not self._sender(sender):
            return False
        return self.contains_url is None or isinstance(event["content"].get("url"), str) is self.contains_url

    def wants_type(self, event_type: str) -> bool:
        """Whether events of this type can pass at all."""
        return self._type(event_type)

    def wants_room(self, room: str) -> bool:
        """Whether events of this room can pass at all."""
        return self._room(room)


@dataclass(frozen=True, slots=True)
class SyncFilter:
    """A whole sync filter; `EVERYTHING` is the one of an app that sends none."""

    account_data: EventFilter = EventFilter()
    room_account_data: EventFilter = EventFilter()
    timeline: EventFilter = EventFilter()
    state: EventFilter = EventFilter()
    ephemeral: EventFilter = EventFilter()
    include_leave: bool = False
    event_fields: tuple[tuple[str, ...], ...] = ()
    _room: _TextTest = field(default=_everything)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Return the filter in the JSON object `value`.

        Raises:
            InvalidInputError: a field has the wrong type, or a list is too long.
        """
        room = value.get("room", {})
        if not isinstance(room, Mapping):
            raise InvalidInputError("the room filter is not an object")
        return cls(
            account_data=EventFilter.parse(value.get("account_data")),
            room_account_data=EventFilter.parse(room.get("account_data")),
            timeline=EventFilter.parse(room.get("timeline")),
            state=EventFilter.parse(room.get("state")),
            ephemeral=EventFilter.parse(room.get("ephemeral")),
            include_leave=room.get("include_leave") is True,
            event_fields=tuple(split_path(path) for path in _texts(value, "event_fields") or ()),
            _room=_set_test(room, "rooms"),
        )

    def wants_room(self, room: str) -> bool:
        """Whether anything of this room is wanted."""
        return self._room(room)

    def trim(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return `event` with only the fields of `event_fields`; without these it is returned as it is."""
        if not self.event_fields:
            return event
        # What a client needs to keep events apart stays: "a server may include more fields than were requested".
        kept = {key: event[key] for key in _ALWAYS_KEPT if key in event}
        for path in self.event_fields:
            _copy_path(event, kept, path)
        return kept


EVERYTHING = SyncFilter()

_ALWAYS_KEPT = ("type", "event_id", "sender", "origin_server_ts", "state_key")


def _limit(value: object, default: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError("a filter's limit is not a positive integer")
    return min(value, MAX_TIMELINE_EVENTS)


def _texts(value: Mapping[str, Any], key: str) -> list[str] | None:
    texts = value.get(key)
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(f"{key} of a filter is not a list of texts")
    if len(texts) > MAX_FILTER_ENTRIES:
        raise InvalidInputError(f"{key} of a filter has more than {MAX_FILTER_ENTRIES} entries")
    return texts


def _set_test(value: Mapping[str, Any], key: str) -> _TextTest:
    wanted, unwanted = _texts(value, key), frozenset(_texts(value, f"not_{key}") or ())
    if wanted is None and not unwanted:
        return _everything
    allowed = None if wanted is None else frozenset(wanted)
    return lambda text: text not in unwanted and (allowed is None or text in allowed)


def _type_test(value: Mapping[str, Any]) -> _TextTest:
    wanted, unwanted = _texts(value, "types"), _texts(value, "not_types")
    if wanted is None and not unwanted:
        return _everything
    allows = _everything if wanted is None else _any_glob(wanted)
    refuses = _any_glob(unwanted or [])
    return lambda text: allows(text) and not refuses(text)


def _any_glob(patterns: list[str]) -> _TextTest:
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    # Only * is special here; runs of it would make the expression slow.
    globs = [compile_pattern(translate(_only_stars(pattern))) for pattern in patterns if "*" in pattern]
    return lambda text: text in exact or any(glob.match(text) for glob in globs)


def _only_stars(pattern: str) -> str:
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _copy_path(source: Mapping[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        inner = source.get(key)
        if not isinstance(inner, Mapping):
            return
        source = inner
        branch = target.setdefault(key, {})
        if not isinstance(branch, dict) or branch is inner:
            return
        target = branch
    if path[-1] in source:
        target[path[-1]] = source[path[-1]]
