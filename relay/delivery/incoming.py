"""Transactions from other servers: checked, committed with the memory of their answer, answered once durable.

Source: Matrix S2S v1.19, "Transactions", "Checks performed on receipt of a PDU", "EDUs".
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
import trio

from relay.base.clock import Clock
from relay.base.config import LimitsConfig
from relay.base.errors import ForbiddenError, InvalidInputError, TooLargeError
from relay.base.ids import RoomId, ServerName, UserId, server_of
from relay.base.limits import (
    MAX_CHANGE_OPERATIONS,
    MAX_CHANGE_TO_DEVICE,
    MAX_DEVICES_PER_USER,
    MAX_STRANGER_TO_DEVICE,
    MAX_TRANSACTION_EDUS,
    MAX_TRANSACTION_PDUS,
    MIB,
    TRANSACTION_MEMORY_S,
)
from relay.base.log import get_logger, tag
from relay.delivery import edus
from relay.delivery.bounds.admission import Admission
from relay.delivery.clock_trust import ClockTrust
from relay.household import remote_devices, to_device
from relay.rooms.matrix import receipts, server_acl
from relay.rooms.matrix.exchange.receiving import PduReceiver
from relay.rooms.matrix.storage import inbox_book, members
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Change, Index, Ledger
from relay.store.tables import Operation, Tables

log = get_logger()

Json = dict[str, Any]

_PRUNE_EVERY_MS = 3600 * 1000
_TYPING_S = 30.0
_DEFAULTS = LimitsConfig()
# A message for a device is put into its inbox, counted, and remembered by its id.
_OPERATIONS_EACH = 3

_REMEMBER = Operation(530, "INSERT OR REPLACE INTO incoming_transaction VALUES (?, ?, ?, ?)")
_FORGET = Operation(531, "DELETE FROM incoming_transaction WHERE received_ms < ?", lazy=True, patient=True)

TABLES = Tables(
    name="delivery.incoming",
    ddl=(
        "CREATE TABLE IF NOT EXISTS incoming_transaction (origin INTEGER NOT NULL, id BLOB NOT NULL,"
        " received_ms INTEGER NOT NULL, reply BLOB NOT NULL, PRIMARY KEY (origin, id)) WITHOUT ROWID",
    ),
    operations=(_REMEMBER, _FORGET),
)


class Incoming:
    """Receives transactions. The same (origin, transaction id) is processed once, also across a restart.

    Those that hold only receipts and typing are not remembered: they may be processed twice.
    """

    def __init__(  # noqa: PLR0917 - what it takes in goes to many places
        self,
        ledger: Ledger,
        receiver: PduReceiver,
        typing: Typing,
        server: ServerName,
        clock: Clock,
        admission: Admission,
        limits: LimitsConfig = _DEFAULTS,
    ) -> None:
        self._ledger = ledger
        self._admission = admission
        self._limits = limits
        self._receiver = receiver
        self._typing = typing
        self._server = server
        self._clock = clock
        self._under_way: dict[tuple[ServerName, str], trio.Event] = {}
        self._pruned_ms = clock.wall_ms()
        self._trust = ClockTrust()

    async def receive(self, origin: ServerName, transaction_id: str, pdus: object, units: object) -> Json:
        """Take a transaction and return the reply: `pdus` with an object for each event, `error` in those refused.

        Everything the reply says is durable when this returns. An identical request waits for the first.

        Raises:
            InvalidInputError: `pdus` or `units` is not a list, or longer than a transaction may be.
            StorageError, QueueFullError: nothing of the transaction was acknowledged; the peer keeps it.
        """
        events = _checked_list(pdus, "pdus", MAX_TRANSACTION_PDUS)
        edu_list = _checked_list(units, "edus", MAX_TRANSACTION_EDUS)
        key = (origin, transaction_id)
        while (under_way := self._under_way.get(key)) is not None:
            await under_way.wait()
        done = self._under_way[key] = trio.Event()
        try:
            return await self._receive(origin, transaction_id, events, edu_list)
        finally:
            del self._under_way[key]
            done.set()

    async def _receive(self, origin: ServerName, transaction_id: str, pdus: list[Any], units: list[Any]) -> Json:
        digest = _digest(transaction_id)
        checked = await self._receiver.prepare(origin, pdus) if pdus else []
        actions, left_out = edus.parse_edus(origin, self._server, units)
        if left_out:
            log.info("delivery.edus_left_out", peer_tag=tag(origin), count=left_out)
        messages = [action for action in actions if isinstance(action, edus.ToDevice)]
        others = [action for action in actions if not isinstance(action, edus.ToDevice | edus.Typing)]
        # Who types and who has read what may be heard twice, and is said all day long: no commit to remember it by.
        lasting = bool(pdus) or any(not isinstance(action, edus.Receipt | edus.Typing) for action in actions)
        # Keys before the messages they open. A change is bounded; what a cut leaves done is done again and recognised.
        if len(messages) > _fitting(messages) and not await self._ledger.read(members.shares_room_with_server, origin):
            messages = messages[:MAX_STRANGER_TO_DEVICE]
        while len(messages) > (many := _fitting(messages)):
            await self._ledger.run(_deliver, messages[:many], self._limits)
            messages = messages[many:]

        may_forget = self._trust.holds(None, self._clock.wall_ms())

        def step(change: Change, now_ms: int) -> tuple[Json, int]:
            again = _recall(change, origin, digest)
            if again is not None:
                return again, inbox_book.held_bytes(change, origin)
            known = members.shares_room_with_server(change, origin)
            _deliver(change, messages if known else messages[:MAX_STRANGER_TO_DEVICE], self._limits)
            results = self._receiver.accept(change, origin, checked) if checked else {}
            for action in others:
                # One that turns out malformed only here is left out like the others; it must not spoil the rest.
                with suppress(InvalidInputError, TooLargeError):
                    _apply(change, origin, self._server, action)
            reply: Json = {"pdus": results}
            if lasting:
                self._remember(change, origin, digest, reply, now_ms, may_forget=may_forget)
            return reply, inbox_book.held_bytes(change, origin)

        reply, waiting_bytes = await self._ledger.run(step, self._clock.wall_ms())
        self._admission.note_queue(origin, waiting_bytes / (self._limits.server_inbox_mib * MIB))
        await self._note_typing(origin, [action for action in actions if isinstance(action, edus.Typing)])
        return reply

    def _remember(
        self, change: Change, origin: ServerName, digest: bytes, reply: Json, now_ms: int, *, may_forget: bool
    ) -> None:
        change.write(_REMEMBER, change.intern(origin), digest, now_ms, orjson.dumps(reply))
        if may_forget and abs(now_ms - self._pruned_ms) > _PRUNE_EVERY_MS:
            self._pruned_ms = now_ms
            change.write(_FORGET, now_ms - TRANSACTION_MEMORY_S * 1000)

    async def _note_typing(self, origin: ServerName, actions: Sequence[edus.Typing]) -> None:
        if not actions:
            return
        for action in await self._ledger.read(_allowed_typing, origin, actions):
            self._typing.set(action.room, action.user, trio.current_time() + _TYPING_S if action.typing else None)


def _checked_list(value: object, name: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInputError(f"{name} is not a list")
    if len(value) > most:
        raise InvalidInputError(f"a transaction holds at most {most} {name}")
    return value


def _digest(transaction_id: str) -> bytes:
    return hashlib.blake2b(transaction_id.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _recall(index: Index, origin: ServerName, digest: bytes) -> Json | None:
    reply = index.value(
        "SELECT reply FROM incoming_transaction WHERE origin = ? AND id = ?", index.find(origin), digest
    )
    return None if reply is None else dict(orjson.loads(reply))


def _fitting(messages: Sequence[edus.ToDevice]) -> int:
    """Return how many of the first messages one change can hold, whatever number of devices they are for."""
    operations = 0
    for count, message in enumerate(messages[:MAX_CHANGE_TO_DEVICE]):
        operations += _OPERATIONS_EACH * (MAX_DEVICES_PER_USER if message.device == to_device.ALL_DEVICES else 1)
        if operations > MAX_CHANGE_OPERATIONS // 2:
            return max(count, 1)
    return min(len(messages), MAX_CHANGE_TO_DEVICE)


def _deliver(change: Change, messages: Sequence[edus.ToDevice], limits: LimitsConfig) -> None:
    for message in messages:
        with suppress(InvalidInputError, TooLargeError):
            to_device.enqueue(
                change,
                message.user,
                message.device,
                message.sender,
                message.type,
                message.content,
                message.message_id,
                limits,
            )


def _apply(change: Change, origin: ServerName, own: ServerName, action: edus.Action) -> None:
    match action:
        case edus.DeviceListUpdate(user, content):
            # Of people nobody here shares a room with nothing is kept: a stranger could name any number of them.
            sharing = _sharing(change, user, own)
            if sharing:
                remote_devices.apply_update(change, origin, content)
                change.wake(*(("user", other) for other in sharing))
        case edus.SigningKeyUpdate(user, content):
            sharing = _sharing(change, user, own)
            if sharing:
                remote_devices.apply_signing_key_update(change, origin, content)
                change.wake(*(("user", other) for other in sharing))
        case edus.Receipt(room, user, event_id, thread_id, ts_ms):
            if _may_speak(change, origin, room, user):
                receipts.set_receipt(change, room, user, "m.read", event_id, thread_id, ts_ms)
        case _:
            pass


def _sharing(index: Index, user: UserId, own: ServerName) -> list[UserId]:
    """Return the people here who share a room with `user`."""
    return sorted(other for other in members.users_sharing_room(index, user) if server_of(other) == own)


def _may_speak(index: Index, origin: ServerName, room: RoomId, user: UserId) -> bool:
    if members.membership(index, room, user) != "join":
        return False
    try:
        server_acl.check(index, room, origin)
    except ForbiddenError:
        return False
    return True


def _allowed_typing(index: Index, origin: ServerName, actions: Sequence[edus.Typing]) -> list[edus.Typing]:
    return [action for action in actions if _may_speak(index, origin, action.room, action.user)]
