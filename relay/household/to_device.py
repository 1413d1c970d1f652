"""The inboxes of our devices: messages from one device to another, kept until the addressee came back for more.

Client-server API, "Send-to-Device messaging".
"""

import hashlib
from typing import Any, Literal

from relay.base.errors import RelayError, TooLargeError
from relay.base.ids import DeviceId, ServerName, UserId, server_of
from relay.base.limits import MAX_EVENT_BYTES, MAX_WAITING_TO_DEVICE, TO_DEVICE_SEEN_CHANGES
from relay.base.log import get_logger
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS to_device (
        user INTEGER NOT NULL, device TEXT NOT NULL, position INTEGER NOT NULL, number INTEGER NOT NULL,
        sender INTEGER NOT NULL, type TEXT NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (user, device, position, number)) WITHOUT ROWID""",
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
_PRUNE_SEEN = Operation(379, "DELETE FROM to_device_seen WHERE position < ?", lazy=True)
_DROP_OLDEST = Operation(380, "DELETE FROM to_device WHERE user = ? AND device = ? AND sender = ? AND position <= ?")
OPERATIONS = (_ADD, _DROP_UP_TO, _DROP_DEVICE, _SEEN, _PRUNE_SEEN, _DROP_OLDEST)

ALL_DEVICES: Literal["*"] = "*"
# Counting reads the whole inbox: rarely enough to cost nothing, often enough to hold the limit nearly.
_COUNT_EVERY = 256

log = get_logger()


def enqueue(  # noqa: PLR0917 - as the contract of a step has it
    change: Change,
    user: UserId,
    device: DeviceId | Literal["*"],
    sender: UserId,
    message_type: str,
    content: dict[str, Any],
    message_id: str | None = None,
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
        if change.position % _COUNT_EVERY == 0 and waiting == 0:
            shrink(change, number, DeviceId(name), MAX_WAITING_TO_DEVICE)
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


def shrink(change: Change, user: int, device: DeviceId, most: int) -> None:
    """Where more than `most` messages wait, drop the oldest half of the server that sent most of them.

    A device that never comes back, or one stranger who never stops, must not fill the card.
    """
    by_sender: dict[int, int] = dict(
        change.rows(
            "SELECT sender, COUNT(*) FROM to_device WHERE user = ? AND device = ? GROUP BY sender ORDER BY sender",
            user,
            device,
        )
    )
    if sum(by_sender.values()) <= most:
        return
    by_server: dict[ServerName, int] = {}
    for sender, count in by_sender.items():
        server = server_of(UserId(change.name(sender)))
        by_server[server] = by_server.get(server, 0) + count
    greediest = max(sorted(by_server), key=lambda server: by_server[server])
    for sender, count in by_sender.items():
        if server_of(UserId(change.name(sender))) == greediest:
            middle = change.value(
                "SELECT position FROM to_device WHERE user = ? AND device = ? AND sender = ?"
                " ORDER BY position, number LIMIT 1 OFFSET ?",
                user,
                device,
                sender,
                count // 2,
            )
            change.write(_DROP_OLDEST, user, device, sender, middle)
    log.warning("household.inbox_shrunk", messages=sum(by_sender.values()), limit=most)


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
    oldest = change.value("SELECT MIN(position) FROM to_device WHERE user = ? AND device = ?", number, device)
    if number is not None and oldest is not None and oldest <= position:
        change.write(_DROP_UP_TO, number, device, position)


def drop_device(change: Change, user: int, device: DeviceId) -> None:
    """Empty the inbox of a device that is deleted."""
    change.write(_DROP_DEVICE, user, device)


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
