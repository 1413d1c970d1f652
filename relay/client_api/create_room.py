"""Making rooms: what presets and overrides mean (client-server API, "Creation")."""

from collections.abc import Mapping
from typing import Any

from relay.base.errors import ConflictError, ForbiddenError, InvalidInputError
from relay.base.ids import RoomAlias, RoomId, ServerName, UserId, parse_room_alias, parse_user_id
from relay.base.limits import MAX_INITIAL_EVENTS, MAX_INVITES_PER_REQUEST
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import (
    optional_bool,
    optional_list,
    optional_object,
    optional_text,
    optional_texts,
    required_object,
    required_text,
)
from relay.client_api.inviting import Invites
from relay.client_api.rates import MessageRate
from relay.core.matrix.room_versions import DEFAULT, RoomVersion, room_version
from relay.delivery.ledger import Index, Ledger
from relay.household import profile
from relay.household.sessions import Session
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan, RoomWriter
from relay.transport.message import Request

POWER_LEVELS = "m.room.power_levels"
_PRESETS: dict[str, dict[str, str]] = {
    "private_chat": {"join_rule": "invite", "guest_access": "can_join"},
    "trusted_private_chat": {"join_rule": "invite", "guest_access": "can_join"},
    "public_chat": {"join_rule": "public", "guest_access": "forbidden"},
}
_MADE_BY_THE_BOX = frozenset({"m.room.create", "m.room.member"})


class RoomInUseError(ConflictError):
    """The alias wanted for the room is taken (`M_ROOM_IN_USE`)."""

    code = "room.in_use"


class InvalidRoomStateError(InvalidInputError):
    """The state asked for contradicts itself (`M_INVALID_ROOM_STATE`)."""

    code = "room.invalid_state"


class RoomCreation:
    """`POST /createRoom`."""

    def __init__(
        self, ledger: Ledger, writer: RoomWriter, invites: Invites, rate: MessageRate, server: ServerName
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._invites = invites
        self._rate = rate
        self._server = server

    async def create(self, session: Session, request: Request) -> Reply:
        """Make the room, then invite."""
        self._rate.check(session.user)
        body = await json_object(request)
        member = await self._ledger.read(member_content, session.user)
        plan = plan_room(body, session.user, self._server, member)
        invited = _invited(body)
        try:
            room = await self._writer.create(session.user, plan)
        except ConflictError as error:
            raise RoomInUseError(str(error)) from None
        except ForbiddenError as error:
            raise InvalidRoomStateError(f"the room rules refuse the state asked for: {error}") from None
        await self._invite(session, room, invited, is_direct=optional_bool(body, "is_direct"))
        return {"room_id": room}

    async def _invite(self, session: Session, room: RoomId, invited: list[UserId], *, is_direct: bool) -> None:
        content = {"is_direct": True} if is_direct else {}
        for user in invited:
            await self._invites.invite(session.user, room, user, content)


def register(door: Door, creation: RoomCreation) -> None:
    """Hang it."""
    door.private("POST", "/_matrix/client/v3/createRoom", creation.create, grows=grows)


def member_content(index: Index, user: UserId) -> dict[str, Any]:
    """Return what a member event of `user` shows of them."""
    return {key: value for key, value in profile.get(index, user).items() if key in profile.IN_MEMBER_EVENTS}


def plan_room(body: Mapping[str, Any], creator: UserId, server: ServerName, member: Mapping[str, Any]) -> RoomPlan:
    """Return the room that the request `body` asks for.

    Raises:
        InvalidInputError: a field has the wrong type or value.
        UnsupportedRoomVersionError: rooms of that version are not made here.
    """
    version = room_version(optional_text(body, "room_version") or DEFAULT.id)
    visibility = optional_text(body, "visibility") or "private"
    preset = optional_text(body, "preset") or ("public_chat" if visibility == "public" else "private_chat")
    if preset not in _PRESETS:
        raise InvalidInputError("there is no such preset")
    initial = _initial_state(body)
    invited = _invited(body)
    trusted = invited if preset == "trusted_private_chat" else []
    alias = _alias(body, server)
    levels = initial.pop((POWER_LEVELS, ""), None)
    if levels is None:
        levels = _power_levels(version, preset, creator, trusted)
        levels.update(optional_object(body, "power_level_content_override"))
    events = [InitialEvent(POWER_LEVELS, "", levels)]
    if alias is not None and ("m.room.canonical_alias", "") not in initial:
        events.append(InitialEvent("m.room.canonical_alias", "", {"alias": alias}))
    stated: dict[tuple[str, str], Mapping[str, Any]] = {**_preset_state(preset, initial), **initial, **_named(body)}
    events += [InitialEvent(kind, state_key, content) for (kind, state_key), content in stated.items()]
    return RoomPlan(
        version=version.id,
        creation=_creation(body, version, creator, trusted),
        member=member,
        events=events,
        alias=alias,
        published=visibility == "public",
    )


def _invited(body: Mapping[str, Any]) -> list[UserId]:
    users = optional_texts(body, "invite")
    if len(users) > MAX_INVITES_PER_REQUEST:
        raise InvalidInputError(f"at most {MAX_INVITES_PER_REQUEST} people can be invited at once")
    return [parse_user_id(user) for user in dict.fromkeys(users)]


def _alias(body: Mapping[str, Any], server: ServerName) -> RoomAlias | None:
    local = optional_text(body, "room_alias_name")
    if local is None:
        return None
    if any(character in local for character in ":# \x00"):
        raise InvalidInputError("room_alias_name is only the part before the server name")
    return parse_room_alias(f"#{local}:{server}")


def _creation(body: Mapping[str, Any], version: RoomVersion, creator: UserId, trusted: list[UserId]) -> dict[str, Any]:
    content = dict(optional_object(body, "creation_content"))
    for key in ("creator", "room_version"):
        content.pop(key, None)
    if version.creators_are_supreme:
        listed = optional_texts(content, "additional_creators")
        together = [user for user in dict.fromkeys([*listed, *trusted]) if user != creator]
        content.pop("additional_creators", None)
        if together:
            content["additional_creators"] = [parse_user_id(user) for user in together]
    return content


def _power_levels(version: RoomVersion, preset: str, creator: UserId, trusted: list[UserId]) -> dict[str, Any]:
    supreme = version.creators_are_supreme
    return {
        "users": {} if supreme else dict.fromkeys((creator, *trusted), 100),
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            # Above what anybody but a creator has: an upgrade is the creators' to make from version 12 on.
            "m.room.tombstone": 150 if supreme else 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 50 if preset == "public_chat" else 0,
    }


def _initial_state(body: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    listed = optional_list(body, "initial_state")
    if len(listed) > MAX_INITIAL_EVENTS:
        raise InvalidInputError(f"initial_state has more than {MAX_INITIAL_EVENTS} events")
    stated: dict[tuple[str, str], dict[str, Any]] = {}
    for event in listed:
        if not isinstance(event, dict):
            raise InvalidInputError("initial_state holds something that is not an object")
        kind = required_text(event, "type")
        if kind in _MADE_BY_THE_BOX:
            raise InvalidRoomStateError(f"{kind} cannot be in initial_state")
        stated[kind, optional_text(event, "state_key") or ""] = required_object(event, "content")
    return stated


def _preset_state(preset: str, initial: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], dict[str, Any]]:
    words = _PRESETS[preset]
    stated = {
        ("m.room.join_rules", ""): {"join_rule": words["join_rule"]},
        ("m.room.history_visibility", ""): {"history_visibility": "shared"},
        ("m.room.guest_access", ""): {"guest_access": words["guest_access"]},
    }
    return {key: content for key, content in stated.items() if key not in initial}


def _named(body: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    stated: dict[tuple[str, str], dict[str, Any]] = {}
    name, topic = optional_text(body, "name"), optional_text(body, "topic")
    if name is not None:
        stated["m.room.name", ""] = {"name": name}
    if topic is not None:
        stated["m.room.topic", ""] = {"topic": topic, "m.topic": {"m.text": [{"body": topic}]}}
    return stated
