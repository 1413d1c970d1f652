"""The inboxes of our devices: messages from one device to another, kept until the addressee came back for more.

Client-server API, "Send-to-Device messaging".
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from relay.base.config import LimitsConfig
from relay.base.errors import RelayError, TooLargeError
from relay.base.ids import DeviceId, ServerName, UserId, server_of
from relay.base.limits import KIB, MAX_EVENT_BYTES, MIB, TO_DEVICE_ENTRY_BYTES, TO_DEVICE_SEEN_CHANGES
from relay.base.log import get_logger
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS to_device (
        user INTEGER NOT NULL, device TEXT NOT NULL, position INTEGER NOT NULL, number INTEGER NOT NULL,
        sender INTEGER NOT NULL, type TEXT NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (user, device, position, number)) WITHOUT ROWID""",
    # What waits in an inbox, in bytes, and how many messages were dropped from it: counted in the same change.
    """CREATE TABLE IF NOT EXISTS to_device_held (
        user INTEGER NOT NULL, device TEXT NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL,
        PRIMARY KEY (user, device)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS to_device_seen (name BLOB PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS to_device_seen_position ON to_device_seen (position)",
)
_ADD = Operation(
    375,
    "INSERT INTO to_device (user, device, position, number, sender, type, content) VALUES (?, ?, ?, ?, ?, ?, ?)",
)
_DROP_UP_TO = Operation(376, "DELETE FROM to_device WHERE user = ? AND device = ? AND position <= ?", lazy=True)
_DROP_DEVICE = Operation(377, "DELETE FROM to_device WHERE user = ? AND device = ?")
_SEEN = Operation(378, "INSERT INTO to_device_seen (name, position) VALUES (?, ?)")
_PRUNE_SEEN = Operation(379, "DELETE FROM to_device_seen WHERE position < ?", lazy=True, patient=True)
_DROP_OLDEST = Operation(380, "DELETE FROM to_device WHERE user = ? AND device = ? AND sender = ? AND position <= ?")
_CARRY_SEEN = Operation(381, "UPDATE to_device_seen SET position = ?")
_COUNT = Operation(
    382,
    "INSERT INTO to_device_held VALUES (?1, ?2, max(?3, 0), ?4) ON CONFLICT (user, device) DO UPDATE SET"
    " bytes = max(bytes + ?3, 0), dropped = dropped + ?4",
)
_UNCOUNT = Operation(
    383, "UPDATE to_device_held SET bytes = max(bytes - ?3, 0) WHERE user = ?1 AND device = ?2", lazy=True
)
_FORGET_COUNT = Operation(384, "DELETE FROM to_device_held WHERE user = ? AND device = ?")
OPERATIONS = (
    _ADD,
    _DROP_UP_TO,
    _DROP_DEVICE,
    _SEEN,
    _PRUNE_SEEN,
    _DROP_OLDEST,
    _COUNT,
    _UNCOUNT,
    _FORGET_COUNT,
    _CARRY_SEEN,
)

ALL_DEVICES: Literal["*"] = "*"
_DEFAULTS = LimitsConfig()
# All inboxes are added up whenever one of them has grown by this much.
_LOOK_EVERY_BYTES = 64 * KIB
# Dropped from a full inbox at once: a sixteenth of it, so that not every message has to push another one out.
_PIECES = 16
_MOST_ROWS = 500

log = get_logger()


def enqueue(  # noqa: PLR0917 - as the contract of a step has it
    change: Change,
    user: UserId,
    device: DeviceId | Literal["*"],
    sender: UserId,
    message_type: str,
    content: dict[str, Any],
    message_id: str | None = None,
    limits: LimitsConfig = _DEFAULTS,
) -> int:
    """Put a message into the inbox of `device`, or of every device of `user` for `*`.

    `message_id` is a peer's name for the message: the same one from the same sender to the same device is kept once.

    Returns:
        How many devices got it; unknown devices get nothing, and nobody gets what `check_content` refuses.
    """
    number = change.find(user)
    try:
        stored = check_content(content)
    except RelayError:
        return 0
    if number is None or (message_id is not None and _seen(change, sender, message_id, user, device)):
        return 0
    wanted = "" if device == ALL_DEVICES else " AND device = ?"
    addressed = change.rows(
        f"SELECT device FROM devices WHERE user = ?{wanted} ORDER BY device",  # noqa: S608 - a constant
        number,
        *([device] if wanted else []),
    )
    for (name,) in addressed:
        waiting = change.value(
            "SELECT COUNT(*) FROM to_device WHERE user = ? AND device = ? AND position = ?",
            number,
            name,
            change.position,
        )
        change.write(_ADD, number, name, change.position, waiting, change.intern(sender), message_type, stored)
        _count_in(change, number, DeviceId(name), len(stored) + TO_DEVICE_ENTRY_BYTES, limits)
    if addressed:
        change.wake(("user", user))
    return len(addressed)


def check_content(content: dict[str, Any]) -> bytes:
    """Return the content of a message as it is stored.

    Raises:
        InvalidInputError: it cannot be stored.
        TooLargeError: it is longer than an event may be.
    """
    stored = pack(content)
    if len(stored) > MAX_EVENT_BYTES:
        raise TooLargeError(f"a to-device message may have at most {MAX_EVENT_BYTES} bytes")
    return stored


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for one device, and how many messages were dropped because too much did."""

    user: UserId
    device: DeviceId
    held_bytes: int
    dropped: int


def fullest(index: Index, count: int) -> list[Inbox]:
    """Return the inboxes in which most waits, or from which something was dropped."""
    rows = index.rows(
        "SELECT user, device, bytes, dropped FROM to_device_held WHERE bytes > 0 OR dropped > 0"
        " ORDER BY bytes DESC, user, device LIMIT ?",
        count,
    )
    return [Inbox(UserId(index.name(user)), DeviceId(device), *rest) for user, device, *rest in rows]


def held_bytes(index: Index) -> int:
    """Return what waits for all devices together."""
    return int(index.value("SELECT coalesce(sum(bytes), 0) FROM to_device_held"))


def is_miscounted(index: Index) -> bool:
    """Return whether the counts are not those of the rows, as after a start from an older version's state."""
    found = index.value("SELECT coalesce(sum(length(content) + ?), 0) FROM to_device", TO_DEVICE_ENTRY_BYTES)
    return bool(found != held_bytes(index))


def recount(change: Change) -> None:
    """Count again what waits; what was dropped is remembered."""
    for user, device, size_bytes, counted in change.rows(
        "SELECT d.user, d.device, (SELECT coalesce(sum(length(content) + ?), 0) FROM to_device t"
        " WHERE t.user = d.user AND t.device = d.device), coalesce(h.bytes, 0) FROM devices d"
        " LEFT JOIN to_device_held h ON h.user = d.user AND h.device = d.device ORDER BY d.user, d.device",
        TO_DEVICE_ENTRY_BYTES,
    ):
        if size_bytes != counted:
            change.write(_COUNT, user, device, size_bytes - counted, 0)


def _count_in(change: Change, user: int, device: DeviceId, size_bytes: int, limits: LimitsConfig) -> None:
    before = _held(change, user, device)
    change.write(_COUNT, user, device, size_bytes, 0)
    held = before + size_bytes
    limit_bytes = limits.device_inbox_mib * MIB
    if held > limit_bytes:
        _shrink(change, user, device, held - limit_bytes + limit_bytes // _PIECES)
    if before // _LOOK_EVERY_BYTES == held // _LOOK_EVERY_BYTES:
        return
    total, most = held_bytes(change), limits.devices_inbox_mib * MIB
    if total > most:
        _shrink_longest_away(change, total - most + most // _PIECES)


def _shrink(change: Change, user: int, device: DeviceId, wanted_bytes: int) -> None:
    """Drop the oldest messages of the server that sent most of those that wait for a device.

    A stranger who never stops must not push out what the others sent.
    """
    by_server: dict[ServerName, int] = {}
    servers: dict[int, ServerName] = {}
    for sender, sent_bytes in change.rows(
        "SELECT sender, sum(length(content) + ?) FROM to_device WHERE user = ? AND device = ?"
        " GROUP BY sender ORDER BY sender",
        TO_DEVICE_ENTRY_BYTES,
        user,
        device,
    ):
        server = servers[sender] = server_of(UserId(change.name(sender)))
        by_server[server] = by_server.get(server, 0) + sent_bytes
    greediest = max(sorted(by_server), key=lambda server: by_server[server])
    theirs = [sender for sender, server in servers.items() if server == greediest]
    rows = _of_senders(change, user, device, theirs)
    freed = last = count = 0
    for position, _, length in rows:
        # The messages of one change go together: a position is what an app acknowledges.
        if position > last and freed >= wanted_bytes:
            break
        freed, count, last = freed + length + TO_DEVICE_ENTRY_BYTES, count + 1, position
    for sender in sorted({sender for position, sender, _ in rows if position <= last}):
        change.write(_DROP_OLDEST, user, device, sender, last)
    change.write(_COUNT, user, device, -freed, count)
    log.warning("household.inbox_shrunk", messages=count)


def _of_senders(index: Index, user: int, device: DeviceId, senders: list[int]) -> list[tuple[int, int, int]]:
    """Return the oldest messages of `senders` as (position, sender, length): no more than a change can drop."""
    marks = ", ".join("?" * len(senders))
    rows = index.rows(
        "SELECT position, sender, length(content) FROM to_device"  # noqa: S608 - only question marks
        f" WHERE user = ? AND device = ? AND sender IN ({marks}) ORDER BY position, number LIMIT ?",
        user,
        device,
        *senders,
        _MOST_ROWS,
    )
    # Of the last change there may be more than were read.
    whole = [row for row in rows if row[0] < rows[-1][0]] if len(rows) == _MOST_ROWS else rows
    return [(position, sender, length) for position, sender, length in whole or rows]


def _shrink_longest_away(change: Change, wanted_bytes: int) -> None:
    """Drop the oldest messages of the device that has been away longest: it is the least likely to come for them."""
    user, device = change.rows(
        "SELECT h.user, h.device FROM to_device_held h JOIN devices d ON d.user = h.user AND d.device = h.device"
        " WHERE h.bytes > 0 ORDER BY d.last_seen_ms, h.user, h.device LIMIT 1"
    )[0]
    freed = last = 0
    for position, length in change.rows(
        "SELECT position, length(content) FROM to_device WHERE user = ? AND device = ?"
        " ORDER BY position, number LIMIT ?",
        user,
        device,
        _MOST_ROWS,
    ):
        if freed >= wanted_bytes:
            break
        freed, last = freed + length + TO_DEVICE_ENTRY_BYTES, position
    count, size_bytes = _up_to(change, user, device, last)
    change.write(_DROP_UP_TO, user, device, last)
    change.write(_COUNT, user, device, -size_bytes, count)
    log.warning("household.oldest_inbox_shrunk", messages=count)


def _up_to(index: Index, user: int | None, device: DeviceId, position: int) -> tuple[int, int]:
    """Return how many messages wait up to `position`, and their bytes."""
    row = index.row(
        "SELECT count(*), coalesce(sum(length(content) + ?), 0) FROM to_device"
        " WHERE user = ? AND device = ? AND position <= ?",
        TO_DEVICE_ENTRY_BYTES,
        user,
        device,
        position,
    )
    return (0, 0) if row is None else (row[0], row[1])


def _held(index: Index, user: int, device: DeviceId) -> int:
    size_bytes: int | None = index.value("SELECT bytes FROM to_device_held WHERE user = ? AND device = ?", user, device)
    return size_bytes or 0


def pending(  # noqa: PLR0917 - as the contract of a step has it
    index: Index, user: UserId, device: DeviceId, after_position: int, up_to: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    """Return waiting messages, oldest first, as (position, message as a sync shows it).

    About `limit` of them: the messages of one change stay together, as a position is what the app acknowledges.
    """
    rows = index.rows(
        "SELECT position, sender, type, content FROM to_device"
        " WHERE user = ?1 AND device = ?2 AND position > ?3 AND position <= MIN(?4, IFNULL("
        "(SELECT position FROM to_device WHERE user = ?1 AND device = ?2 AND position > ?3"
        " ORDER BY position, number LIMIT 1 OFFSET ?5), ?4)) ORDER BY position, number",
        index.find(user),
        device,
        after_position,
        up_to,
        max(limit, 1) - 1,
    )
    return [
        (position, {"sender": index.name(sender), "type": message_type, "content": unpack(content)})
        for position, sender, message_type, content in rows
    ]


def drop_up_to(change: Change, user: UserId, device: DeviceId, position: int) -> None:
    """Forget what the app has: it came back with a token of `position`. Written with the next commit."""
    number = change.find(user)
    count, size_bytes = _up_to(change, number, device, position)
    if number is not None and count:
        change.write(_DROP_UP_TO, number, device, position)
        change.write(_UNCOUNT, number, device, size_bytes)


def drop_device(change: Change, user: int, device: DeviceId) -> None:
    """Empty the inbox of a device that is deleted."""
    change.write(_DROP_DEVICE, user, device)
    change.write(_FORGET_COUNT, user, device)


def carry_seen(change: Change) -> None:
    """Remember what was seen as if it had been just now: in a box from a backup the numbers of changes have jumped."""
    change.write(_CARRY_SEEN, change.position)


def _seen(change: Change, sender: UserId, message_id: str, user: UserId, device: str) -> bool:
    parts = "\0".join((sender, message_id, user, device)).encode("utf-8", "surrogatepass")
    name = hashlib.blake2b(parts, digest_size=12).digest()
    if change.row("SELECT 1 FROM to_device_seen WHERE name = ?", name) is not None:
        return True
    change.write(_SEEN, name, change.position)
    oldest = change.value("SELECT MIN(position) FROM to_device_seen")
    if oldest is not None and oldest < change.position - 2 * TO_DEVICE_SEEN_CHANGES:
        change.write(_PRUNE_SEEN, change.position - TO_DEVICE_SEEN_CHANGES)
    return False
