"""Form, hashes and signatures of other servers' events: everything that needs no room state and no step.

Source: Matrix S2S v1.19, "Checks performed on receipt of a PDU", 1 to 3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVarTuple

import trio
from nacl.signing import VerifyKey

from relay.base.errors import RelayError
from relay.base.ids import EventId, KeyId, RoomId, ServerName
from relay.base.limits import SIGNATURE_KEYS_TIMEOUT_S
from relay.core.matrix.events import Event, check_content_hash, event_id_of, parse_pdu, redacted_event
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.signing import key_ids_of, required_signers, verify_event
from relay.rooms.matrix.server_keys import ServerKeys

# Below this many, a thread costs more than it spares the others.
_WORTH_A_THREAD = 10

Ts = TypeVarTuple("Ts")

Lives = Mapping[ServerName, Mapping[KeyId, tuple[VerifyKey, int]]]


@dataclass(frozen=True, slots=True)
class CheckedPdu:
    """What came of one PDU.

    Attributes:
        event: good in form and signature, redacted if its content hash was wrong; None if it was not.
        event_id: None where not even that could be made out.
        error: what was wrong.
        intact: False where the content hash was wrong.
    """

    raw: Mapping[str, Any]
    event: Event | None = None
    event_id: EventId | None = None
    error: str | None = None
    intact: bool = True

    @property
    def room_id(self) -> RoomId:
        """The room the PDU says it is of."""
        return RoomId(str(self.raw.get("room_id"))) if self.event is None else self.event.room_id


class EventChecker:
    """Checks events, many at a time in a worker thread."""

    def __init__(self, keys: ServerKeys) -> None:
        self._keys = keys

    async def check(self, raws: Sequence[Mapping[str, Any]], version: RoomVersion) -> list[CheckedPdu]:
        """Return one result for each PDU, in order."""
        parsed = await _in_worker(len(raws), _parse_all, raws, version)
        lives = await self._lives([entry.event for entry in parsed if entry.event is not None])
        return await _in_worker(len(raws), _verify_all, parsed, lives)

    async def check_good(self, raws: Sequence[Mapping[str, Any]], version: RoomVersion) -> dict[EventId, Event]:
        """Return the good ones by id."""
        checked = await self.check(raws, version)
        return {entry.event.event_id: entry.event for entry in checked if entry.event is not None}

    async def _lives(self, events: Sequence[Event]) -> Lives:
        needed: dict[ServerName, dict[KeyId, int]] = {}
        for event in events:
            for server in required_signers(event):
                of_server = needed.setdefault(server, {})
                for key_id in key_ids_of(event.raw.get("signatures"), server):
                    of_server[key_id] = max(of_server.get(key_id, 0), event.origin_server_ts)
        found: dict[ServerName, Mapping[KeyId, tuple[VerifyKey, int]]] = {}

        async def look_up(server: ServerName, key_ids: Mapping[KeyId, int]) -> None:
            found[server] = await self._keys.lives(server, key_ids)

        # A server that does not answer must not hold the events of others.
        with trio.move_on_after(SIGNATURE_KEYS_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for server, key_ids in needed.items():
                    nursery.start_soon(look_up, server, key_ids)
        return found


def _parse_all(raws: Sequence[Mapping[str, Any]], version: RoomVersion) -> list[CheckedPdu]:
    return [_parse(raw, version) for raw in raws]


def _parse(raw: Mapping[str, Any], version: RoomVersion) -> CheckedPdu:
    try:
        event = parse_pdu(raw, version)
    except RelayError as error:
        return CheckedPdu(raw, None, _id_of(raw, version), str(error))
    return CheckedPdu(raw, event, event.event_id)


def _id_of(raw: Mapping[str, Any], version: RoomVersion) -> EventId | None:
    try:
        return event_id_of(raw, version)
    except (RelayError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _verify_all(parsed: Sequence[CheckedPdu], lives: Lives) -> list[CheckedPdu]:
    return [entry if entry.event is None else _verify(entry, entry.event, lives) for entry in parsed]


def _verify(entry: CheckedPdu, event: Event, lives: Lives) -> CheckedPdu:
    usable = {
        server: {key_id: key for key_id, (key, until_ms) in of_server.items() if until_ms >= event.origin_server_ts}
        for server, of_server in lives.items()
    }
    try:
        verify_event(event, usable)
    except RelayError as error:
        return CheckedPdu(entry.raw, None, entry.event_id, str(error))
    return (
        entry
        if check_content_hash(event)
        else CheckedPdu(entry.raw, redacted_event(event), entry.event_id, intact=False)
    )


async def _in_worker(count: int, function: Callable[[*Ts], list[CheckedPdu]], *arguments: *Ts) -> list[CheckedPdu]:
    if count < _WORTH_A_THREAD:
        return function(*arguments)
    return await trio.to_thread.run_sync(function, *arguments)
