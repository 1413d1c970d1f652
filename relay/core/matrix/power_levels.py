"""Who may do what in a room. Source: Matrix specification v1.19, `m.room.power_levels`; room version 12, creators."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final, Self

from relay.core.matrix.events import CREATE, Event, StateKey
from relay.core.matrix.room_versions import RoomVersion

CREATOR_LEVEL: Final = 2**53
"""Above every level that canonical JSON can express: the infinite power of version 12 creators."""

POWER_LEVELS: Final = "m.room.power_levels"
CREATE_KEY: Final[StateKey] = (CREATE, "")
POWER_LEVELS_KEY: Final[StateKey] = (POWER_LEVELS, "")

# Python refuses to read more digits than 4,300.
_DIGITS: Final = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*")

State = Mapping[StateKey, Event]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PowerLevels:
    """The levels in force, defaults filled in.

    Attributes:
        creators: who made the room, `additional_creators` included where the version has them.
        supreme: whether creators have infinite power.
        content: of the power levels event; None where there is none.
        integers_only: whether a level may not be a string of digits.
    """

    creators: frozenset[str]
    supreme: bool
    integers_only: bool
    content: Mapping[str, Any] | None

    @classmethod
    def of(cls, state: State, version: RoomVersion) -> Self:
        """Return the levels in force in `state`, which holds at least the create event where there is one."""
        create, levels = state.get(CREATE_KEY), state.get(POWER_LEVELS_KEY)
        return cls(
            creators=frozenset() if create is None else creators_of(create),
            supreme=version.creators_are_supreme,
            integers_only=version.integer_levels,
            content=None if levels is None else levels.content,
        )

    def level_of(self, user: str) -> int:
        """Return a user's level; `CREATOR_LEVEL` for a creator where creators are supreme."""
        if user in self.creators:
            if self.supreme:
                return CREATOR_LEVEL
            if self.content is None:
                return 100
        if self.content is None:
            return 0
        own = self._entry(self.content, "users", user)
        return self.named("users_default", 0) if own is None else own

    def needed_for(self, event_type: str, *, is_state: bool) -> int:
        """Return the level that sending an event of this type needs."""
        content = self.content or {}
        own = self._entry(content, "events", event_type)
        if own is not None:
            return own
        return self.named("state_default", 50) if is_state else self.named("events_default", 0)

    def named(self, name: str, default: int) -> int:
        """Return the level called `name` (ban, kick...), or `default` where it is not given."""
        level = None if self.content is None else read_level(self.content.get(name), integers_only=self.integers_only)
        return default if level is None else level

    def _entry(self, content: Mapping[str, Any], table: str, name: str) -> int | None:
        entries = content.get(table)
        value = entries.get(name) if isinstance(entries, Mapping) else None
        return read_level(value, integers_only=self.integers_only)

    @property
    def invite(self) -> int:
        """The level that inviting needs."""
        return self.named("invite", 0)

    @property
    def kick(self) -> int:
        """The level that removing somebody needs."""
        return self.named("kick", 50)

    @property
    def ban(self) -> int:
        """The level that banning and unbanning need."""
        return self.named("ban", 50)

    @property
    def redact(self) -> int:
        """The level that redacting other people's events needs."""
        return self.named("redact", 50)

    def may_redact(self, redaction_sender: str, target_sender: str) -> bool:
        """Return whether a redaction takes effect. Source: room version 3, "Handling redactions"."""
        same_server = redaction_sender.partition(":")[2] == target_sender.partition(":")[2]
        return same_server or self.level_of(redaction_sender) >= self.redact


def creators_of(create: Event) -> frozenset[str]:
    """Return who made a room: the sender, the additional creators of version 12, `creator` before version 11."""
    if not create.version.creator_is_sender:
        creator = create.content.get("creator")
        return frozenset({creator}) if isinstance(creator, str) else frozenset()
    creators = {str(create.sender)}
    more = create.content.get("additional_creators") if create.version.creators_are_supreme else None
    if isinstance(more, list):
        creators.update(user for user in more if isinstance(user, str))
    return frozenset(creators)


def read_level(value: object, *, integers_only: bool) -> int | None:
    """Return a level as it stands in an event, None for what is none.

    Source: room version 9, "`m.room.power_levels` events accept values as strings".
    """
    if type(value) is int:
        return value
    if integers_only or not isinstance(value, str) or not _DIGITS.fullmatch(value):
        return None
    return int(value)
