"""What the authorization rules share: the refusal, and reading a membership."""

from typing import Final, NoReturn

from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import parse_user_id
from relay.core.matrix.events import StateKey
from relay.core.matrix.power_levels import State

MEMBER: Final = "m.room.member"
JOIN_RULES_KEY: Final[StateKey] = ("m.room.join_rules", "")
THIRD_PARTY_INVITE: Final = "m.room.third_party_invite"


class NotAllowedError(ForbiddenError):
    """The authorization rules of the room refuse an event; the message names the rule."""

    code = "event.not_allowed"


def refuse(rule: str) -> NoReturn:
    """Raise `NotAllowedError`."""
    raise NotAllowedError(rule)


def membership_of(state: State, user: str) -> str | None:
    """Return a user's membership in `state`, None for somebody who never was there."""
    event = state.get((MEMBER, user))
    if event is None:
        return None
    membership = event.content.get("membership")
    return membership if isinstance(membership, str) else None


def is_user_id(text: object) -> bool:
    """Return whether this is a user id as `sender` is one."""
    if not isinstance(text, str):
        return False
    try:
        parse_user_id(text)
    except InvalidInputError:
        return False
    return True


def looks_like_user_id(text: str) -> bool:
    """Return whether this has the shape `@...:...`, which is all that deployed servers ask of power level users."""
    return text.startswith("@") and ":" in text
