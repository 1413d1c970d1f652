"""What a resident server answers to send_join: parsed, verified, put in order, before any of it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import EventId
from relay.base.limits import MAX_STATE_EVENTS
from relay.core.matrix.authorization import auth_types, authorize
from relay.core.matrix.events import CREATE, Event
from relay.core.matrix.power_levels import CREATE_KEY
from relay.rooms.matrix.deciding.checking import EventChecker
from relay.rooms.matrix.storage.outliers import authorized, in_order


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """A room to be stored.

    Attributes:
        join: our join event.
        create: the room's create event.
        decided: every other event with whether its auth events allow it, auth events first.
        state: the state before the join.
    """

    join: Event
    create: Event
    decided: list[tuple[Event, bool]]
    state: dict[tuple[str, str], EventId]


async def read_answer(reply: Mapping[str, Any], join: Event, checker: EventChecker) -> JoinAnswer:
    """Return the verified answer; events that are not good are left out of it.

    Raises:
        InvalidInputError: it is malformed, too large, or does not hold together: no or a wrong create event, another
            event than ours, or a state that does not let us in.
    """
    state_raws, auth_raws = _list(reply, "state"), _list(reply, "auth_chain")
    checked = await checker.check([*auth_raws, *state_raws], join.version)
    good = {entry.event.event_id: entry.event for entry in checked if entry.event is not None}
    good = {event_id: event for event_id, event in good.items() if event.room_id == join.room_id}
    in_state = {entry.event.event_id for entry in checked[len(auth_raws) :] if entry.event is not None}
    signed = await _our_event(reply.get("event"), join, checker)
    return await trio.to_thread.run_sync(_put_together, good, in_state, signed)


async def _our_event(offered: object, join: Event, checker: EventChecker) -> Event:
    if not isinstance(offered, dict):
        return join
    # The resident may have added the signature that vouches for a restricted join.
    good = await checker.check_good([offered], join.version)
    signed = good.get(join.event_id)
    if signed is None:
        raise InvalidInputError("the answer holds another join than ours")
    return signed


def _put_together(good: dict[EventId, Event], in_state: set[EventId], join: Event) -> JoinAnswer:
    decided = authorized(in_order(good), {})
    allowed = {event.event_id: event for event, is_good in decided if is_good}
    state: dict[tuple[str, str], EventId] = {}
    for event_id in sorted(allowed.keys() & in_state):
        event = allowed[event_id]
        if event.is_state and state.setdefault(event.key, event_id) != event_id:
            raise InvalidInputError("the answer has two events for one place in the state")
    create = allowed.get(state.get(CREATE_KEY, EventId("")))
    if create is None or create.type != CREATE or create.content.get("room_version", "1") != join.version.id:
        raise InvalidInputError("the answer has no create event that fits the room")
    keys = {*auth_types(join, join.version), CREATE_KEY}
    try:
        authorize(join, {key: allowed[state[key]] for key in keys if key in state})
    except ForbiddenError as error:
        raise InvalidInputError(f"the answered state does not let us in: {error}") from None
    return JoinAnswer(join, create, decided, state)


def _list(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = reply.get(name)
    if not isinstance(value, list) or len(value) > MAX_STATE_EVENTS:
        raise InvalidInputError(f"{name} is not an array of at most {MAX_STATE_EVENTS} events")
    return [entry for entry in value if isinstance(entry, dict)]
