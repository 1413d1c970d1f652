"""Whether an event may be in a room. Source: Matrix specification v1.19, room versions 6 to 12, "Authorization rules".

Where the specification leaves room, the reading of deployed servers is taken and said so: two servers that judge one
event differently split the room.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from relay.core.matrix.events import CREATE, Event, StateKey
from relay.core.matrix.membership_rules import check_member
from relay.core.matrix.power_level_rules import check_power_levels
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS, POWER_LEVELS_KEY, PowerLevels, State
from relay.core.matrix.room_versions import RECOGNISED, RoomVersion
from relay.core.matrix.rule_parts import (
    JOIN_RULES_KEY,
    MEMBER,
    THIRD_PARTY_INVITE,
    NotAllowedError,
    is_user_id,
    membership_of,
    refuse,
)

__all__ = ["EventShape", "NotAllowedError", "auth_types", "authorize", "check_auth_events"]


class HasShape(Protocol):
    """What `auth_types` reads: an `Event`, or an `EventShape` of one that is not made yet."""

    @property
    def type(self) -> str:
        """The event type."""
        ...

    @property
    def sender(self) -> str:
        """Who sends it."""
        ...

    @property
    def state_key(self) -> str | None:
        """Its state key, None for a message."""
        ...

    @property
    def content(self) -> Mapping[str, Any]:
        """Its content."""
        ...


class EventShape(NamedTuple):
    """An event that is not made yet."""

    type: str
    sender: str
    state_key: str | None
    content: Mapping[str, Any]


def auth_types(event: HasShape, version: RoomVersion) -> set[StateKey]:
    """Return which state an event must cite, as far as it exists.

    Source: Server-Server API, "Auth events selection".
    """
    if event.type == CREATE:
        return set()
    keys = {POWER_LEVELS_KEY, (MEMBER, event.sender)}
    if not version.room_id_is_hash:
        keys.add(CREATE_KEY)
    if event.type == MEMBER and event.state_key is not None:
        keys.add((MEMBER, event.state_key))
        keys.update(_for_membership(event.content, version))
    return keys


def _for_membership(content: Mapping[str, Any], version: RoomVersion) -> Iterable[StateKey]:
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        yield JOIN_RULES_KEY
    if membership == "invite":
        claim = content.get("third_party_invite")
        signed = claim.get("signed") if isinstance(claim, Mapping) else None
        token = signed.get("token") if isinstance(signed, Mapping) else None
        if isinstance(token, str):
            yield (THIRD_PARTY_INVITE, token)
    voucher = content.get("join_authorised_via_users_server")
    if version.restricted_joins and membership == "join" and isinstance(voucher, str):
        yield (MEMBER, voucher)


def authorize(event: Event, state: State) -> None:
    """Check an event against a state: that of its auth events, the one before it, or the room's current one.

    Args:
        event: the event; its signatures are not looked at.
        state: holds at least the create event, also in room version 12, and what `auth_types` names.

    Raises:
        NotAllowedError: the rules refuse it.
    """
    if event.type == CREATE:
        _check_create(event)
        return
    create = state.get(CREATE_KEY)
    if create is None or create.rejected or create.room_id != event.room_id:
        refuse("the room has no accepted create event")
    _check_federate(event, create)
    if event.type == MEMBER:
        check_member(event, state)
        return
    if membership_of(state, event.sender) != "join":
        refuse("the sender is not in the room")
    levels = PowerLevels.of(state, event.version)
    own = levels.level_of(event.sender)
    if event.type == THIRD_PARTY_INVITE:
        if own < levels.invite:
            refuse("the sender may not invite")
        return
    if own < levels.needed_for(event.type, is_state=event.is_state):
        refuse("the sender's power level is too low for this type of event")
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        refuse("a state key that is a user id belongs to that user")
    if event.type == POWER_LEVELS:
        check_power_levels(event, state)


def check_auth_events(event: Event, auth_events: Iterable[Event]) -> None:
    """Check the rules about the auth events themselves.

    Args:
        event: the event that cites them.
        auth_events: all that `event.auth_events` names. The create event that room version 12 implies is not one.

    Raises:
        NotAllowedError: one is rejected, doubled, of another room, or none of those that `auth_types` names.
    """
    if event.type == CREATE:
        return
    if len(set(event.auth_events)) < len(event.auth_events):
        refuse("an auth event is named twice")
    wanted, seen = auth_types(event, event.version), set()
    for cited in auth_events:
        if cited.room_id != event.room_id:
            refuse("an auth event is of another room")
        if cited.state_key is None or cited.key not in wanted:
            refuse("an auth event is not of a kind that this event may cite")
        if cited.key in seen:
            refuse("two auth events stand for the same state")
        if cited.rejected:
            refuse("an auth event was itself rejected")
        seen.add(cited.key)
    if CREATE_KEY in wanted and CREATE_KEY not in seen:
        refuse("the create event is not among the auth events")


def _check_create(event: Event) -> None:
    if event.prev_events:
        refuse("a create event has nothing before it")
    if event.version.room_id_is_hash:
        if "room_id" in event.raw:
            refuse("a create event of this room version has no room_id")
    elif event.room_id.partition(":")[2] != event.sender.partition(":")[2]:
        refuse("the room id is of another server than the sender")
    named = event.content.get("room_version", "1")
    if not isinstance(named, str) or named not in RECOGNISED:
        refuse("the room version is unknown")
    if not event.version.creator_is_sender and "creator" not in event.content:
        refuse("the create event names no creator")
    if event.version.creators_are_supreme and "additional_creators" in event.content:
        more = event.content["additional_creators"]
        if not isinstance(more, list) or not all(is_user_id(user) for user in more):
            refuse("additional_creators is not an array of user ids")


def _check_federate(event: Event, create: Event) -> None:
    """Refuse outsiders of a room that is not federated.

    Deployed servers take anything but `true` for `false`, and ask the same of a member event's target.
    """
    if create.content.get("m.federate", True) is True:
        return
    home = create.sender.partition(":")[2]
    outsiders = [event.sender, event.state_key or ""] if event.type == MEMBER else [event.sender]
    if any(user.partition(":")[2] != home for user in outsiders):
        refuse("the room is not federated")
