"""Events that other servers push: checked outside of any step, taken into their rooms inside one."""

from collections.abc import Mapping, Sequence
from typing import Any

from relay.base.clock import Clock
from relay.base.config import LimitsConfig
from relay.base.errors import ForbiddenError, RelayError
from relay.base.ids import EventId, RoomId, ServerName, parse_room_id
from relay.base.limits import MAX_REMEMBERED_VERSIONS
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import RoomVersion, room_version
from relay.rooms.matrix import server_acl
from relay.rooms.matrix.deciding.acceptance import Known, decide
from relay.rooms.matrix.deciding.checking import CheckedPdu, EventChecker
from relay.rooms.matrix.membership import invites, join_commit
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import graph, inbox_book, members
from relay.rooms.matrix.storage.commit import Decision, commit
from relay.store.ledger import Change, Index, Ledger

PduResult = dict[str, Any]
"""One entry of the `pdus` of a transaction's answer: {} or {"error": text}."""


class PduReceiver:
    """Takes the PDUs of transactions."""

    def __init__(
        self, ledger: Ledger, keys: ServerKeys, server: ServerName, clock: Clock, limits: LimitsConfig | None = None
    ) -> None:
        self._ledger = ledger
        self._limits = limits or LimitsConfig()
        self._checker = EventChecker(keys)
        self._server = server
        self._clock = clock
        # Of rooms that are here; it never changes.
        self._versions: dict[str, RoomVersion] = {}

    async def prepare(self, origin: ServerName, raw_pdus: Sequence[Any]) -> list[CheckedPdu]:
        """Return each PDU with its form, hash and signatures checked; nothing is stored yet.

        `origin` need not be the sender's server: residents pass on events of others.
        """
        del origin
        pdus = [raw for raw in raw_pdus if isinstance(raw, dict)]
        versions = await self._versions_of({_room_of(raw) for raw in pdus})
        results: list[CheckedPdu] = [CheckedPdu(raw, error="this room is not known here") for raw in pdus]
        for version in set(versions.values()):
            mine = [at for at, raw in enumerate(pdus) if versions.get(_room_of(raw)) == version]
            checked = await self._checker.check([pdus[at] for at in mine], version)
            for at, entry in zip(mine, checked, strict=True):
                results[at] = entry
        return results

    async def _versions_of(self, rooms: set[str]) -> dict[str, RoomVersion]:
        found = {room: self._versions[room] for room in rooms if room in self._versions}
        if len(found) < len(rooms):
            read, lasting = await self._ledger.read(_versions, sorted(rooms - found.keys()))
            found |= read
            if len(self._versions) + len(lasting) > MAX_REMEMBERED_VERSIONS:
                self._versions.clear()
            self._versions |= lasting
        return found

    def accept(self, change: Change, origin: ServerName, checked: Sequence[CheckedPdu]) -> dict[EventId, PduResult]:
        """Take checked PDUs into their rooms, or where ancestors are missing, into the room's inbox.

        Returns:
            For each PDU whose id can be made out {} or {"error": text}; a rejected event is no error.

        Raises:
            InboxFullError: too much of this origin waits for ancestors; the change is to be taken back whole.
        """
        results: dict[EventId, PduResult] = {}
        # A sender may list them in any order.
        for entry in sorted(checked, key=lambda one: 0 if one.event is None else one.event.depth):
            error = self._accept(change, origin, entry)
            if entry.event_id is not None:
                results[entry.event_id] = {} if error is None else {"error": error}
        return results

    def _accept(self, change: Change, origin: ServerName, entry: CheckedPdu) -> str | None:
        event = entry.event
        if event is None:
            return entry.error
        room = graph.row(change, event.room_id)
        if room is None or not members.server_joined(change, event.room_id, self._server):
            return self._keep_for_join(change, origin, event)
        try:
            server_acl.check(change, event.room_id, origin)
        except ForbiddenError as error:
            return str(error)
        decision = decide(change, room, event, {})
        if isinstance(decision, Decision):
            commit(change, room, decision, self._server)
            inbox_book.wake_waiting(change, room.number)
        elif not isinstance(decision, Known):
            self._wait(change, room.number, origin, event)
        return None

    def _keep_for_join(self, change: Change, origin: ServerName, event: Event) -> str | None:
        if join_commit.version_of(change, event.room_id) is not None:
            self._wait(change, change.intern(event.room_id), origin, event)
            return None
        return None if invites.withdraw(change, event) else "this server is not in the room"

    def _wait(self, change: Change, room: int, origin: ServerName, event: Event) -> None:
        inbox_book.add(change, room, origin, event, self._clock.wall_ms(), self._limits)


def _room_of(raw: Mapping[str, Any]) -> str:
    room = raw.get("room_id")
    return room if isinstance(room, str) else ""


def _versions(index: Index, rooms: list[str]) -> tuple[dict[str, RoomVersion], dict[str, RoomVersion]]:
    """Return what is known of the rooms' versions, and that part of it which rests on more than an invitation."""
    found: dict[str, RoomVersion] = {}
    lasting: dict[str, RoomVersion] = {}
    for text in rooms:
        try:
            room_id: RoomId = parse_room_id(text)
        except RelayError:
            continue
        held = graph.row(index, room_id)
        known = join_commit.version_of(index, room_id) if held is None else held.version.id
        known = known or invites.version_of(index, room_id)
        if known is not None:
            found[text] = room_version(known)
        if held is not None:
            lasting[text] = room_version(held.version.id)
    return found, lasting
