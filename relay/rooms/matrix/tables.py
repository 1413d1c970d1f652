"""What the rooms keep: tables, and the numbered operations that write them.

Event ids are 32-byte blobs, every other name is an interned integer. Two indexes stand on the one hot table:

- `events_by_generation`: 4 bytes of the id, an expression, so that nothing is stored twice. Ids are hashes: every new
  one would dirty another page of a large index. So the index is one small tree after another, each of 65,536 events
  in the order of their arrival, and only the pages of the last one are ever written again.
- `timeline`: room and place, only for events that clients may page through.

There is no edge table: walks over the graph read `prev_events` from the events themselves, and the forward
extremities of a room are one small blob in its row. `bytes` behind an index is its measured share of one message
in a database of 100,000 events (dbstat, payload and page overhead together).
"""

from relay.store.tables import Operation, Tables

# A room's row. `creation`: events.number of m.room.create. `state`: group of the current state. `tips`: forward
# extremities, 4-byte little-endian event numbers. `floor`: depth of the join that brought this box in; what is below
# is asked for only when somebody pages back. `changed`, `state_changed`: positions. Rooms are hundreds, and 40
# bytes each: finding those changed since a position is a scan of a few pages, cheaper than an index to keep.
_ROOMS = """CREATE TABLE IF NOT EXISTS rooms (
    number INTEGER PRIMARY KEY, version TEXT NOT NULL, creation INTEGER NOT NULL, state INTEGER NOT NULL,
    tips BLOB NOT NULL, floor INTEGER NOT NULL, changed INTEGER NOT NULL, state_changed INTEGER NOT NULL,
    published INTEGER NOT NULL)"""

# `number`: arrival. `place`: where it stands in the room's timeline, NULL outside of it; live events stand at
# position * 1024 + k, so that a sync position is a place and nothing has to be looked up; what is fetched later
# stands in the gap below the event that pointed to it. `state`: group after the event, NULL for outliers.
# `redaction`: events.number of the redaction that was applied to `pdu`.
_EVENTS = """CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, room INTEGER NOT NULL, place INTEGER, flags INTEGER NOT NULL, state INTEGER,
    redaction INTEGER, id BLOB NOT NULL, pdu BLOB NOT NULL)"""
# 16 bytes
_EVENTS_BY_ID = "CREATE INDEX IF NOT EXISTS events_by_generation ON events (number >> 16, substr(id, 1, 4))"
# 15 bytes
_TIMELINE = "CREATE INDEX IF NOT EXISTS timeline ON events (room, place) WHERE place IS NOT NULL"

# `delta`: 12-byte entries type, state key, event number (0: no longer there) on top of `parent`; at depth 0 the
# delta is the whole state and `parent` only says what it came from.
_STATE_GROUPS = """CREATE TABLE IF NOT EXISTS state_groups (
    number INTEGER PRIMARY KEY, parent INTEGER NOT NULL, depth INTEGER NOT NULL, delta BLOB NOT NULL)"""

_CURRENT_STATE = """CREATE TABLE IF NOT EXISTS current_state (
    room INTEGER NOT NULL, type INTEGER NOT NULL, state_key INTEGER NOT NULL, event INTEGER NOT NULL,
    membership INTEGER, position INTEGER NOT NULL, PRIMARY KEY (room, type, state_key)) WITHOUT ROWID"""

_MEMBERSHIPS = """CREATE TABLE IF NOT EXISTS memberships (
    user INTEGER NOT NULL, room INTEGER NOT NULL, membership INTEGER NOT NULL, event INTEGER NOT NULL,
    sender INTEGER NOT NULL, position INTEGER NOT NULL, forgotten INTEGER NOT NULL,
    PRIMARY KEY (user, room)) WITHOUT ROWID"""

# `since`: the newest event row when the server's first user joined; it gets what came later from here.
_ROOM_SERVERS = """CREATE TABLE IF NOT EXISTS room_servers (
    room INTEGER NOT NULL, server INTEGER NOT NULL, joined INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (room, server)) WITHOUT ROWID"""

# `number`: position * 1024 + k, as places are.
_MEMBERSHIP_LOG = """CREATE TABLE IF NOT EXISTS membership_log (
    number INTEGER PRIMARY KEY, room INTEGER NOT NULL, user INTEGER NOT NULL, membership INTEGER NOT NULL,
    previous INTEGER NOT NULL)"""

# Events made here, which other servers must get. `extra`: a server that was in the room before the event and is not
# after it, or whose user is invited.
_DEPARTURES = """CREATE TABLE IF NOT EXISTS departures (
    event INTEGER PRIMARY KEY, room INTEGER NOT NULL, extra INTEGER)"""

_INBOX = """CREATE TABLE IF NOT EXISTS inbox (
    number INTEGER PRIMARY KEY, room INTEGER NOT NULL, origin INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    id BLOB NOT NULL, pdu BLOB NOT NULL)"""
_INBOX_BY_ROOM = "CREATE INDEX IF NOT EXISTS inbox_by_room ON inbox (room)"
# What waits, in bytes, and how many were dropped: for a room and an origin, for an origin (room 0), for all (0, 0).
_INBOX_HELD = """CREATE TABLE IF NOT EXISTS inbox_held (
    room INTEGER NOT NULL, origin INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL,
    PRIMARY KEY (room, origin)) WITHOUT ROWID"""

_INVITES = """CREATE TABLE IF NOT EXISTS invites (
    user INTEGER NOT NULL, room INTEGER NOT NULL, origin INTEGER NOT NULL, sender INTEGER NOT NULL,
    position INTEGER NOT NULL, received_ms INTEGER NOT NULL, version TEXT NOT NULL, pdu BLOB NOT NULL,
    stripped BLOB NOT NULL, PRIMARY KEY (user, room)) WITHOUT ROWID"""

_WAITING_REDACTIONS = """CREATE TABLE IF NOT EXISTS waiting_redactions (
    target BLOB NOT NULL, event INTEGER NOT NULL, PRIMARY KEY (target, event)) WITHOUT ROWID"""

_RECEIPTS = """CREATE TABLE IF NOT EXISTS receipts (
    room INTEGER NOT NULL, user INTEGER NOT NULL, kind TEXT NOT NULL, thread TEXT NOT NULL, event BLOB NOT NULL,
    ts_ms INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (room, user, kind, thread)) WITHOUT ROWID"""

# The newest receipt of each room: what an incremental sync looks at, instead of an index over all receipts.
_RECEIPT_NEWS = "CREATE TABLE IF NOT EXISTS receipt_news (room INTEGER PRIMARY KEY, position INTEGER NOT NULL)"

_ALIASES = """CREATE TABLE IF NOT EXISTS aliases (
    alias INTEGER PRIMARY KEY, room INTEGER NOT NULL, creator INTEGER NOT NULL)"""

_SERVER_KEYS = """CREATE TABLE IF NOT EXISTS server_keys (
    server INTEGER NOT NULL, key_id TEXT NOT NULL, public BLOB NOT NULL, valid_until_ms INTEGER NOT NULL,
    expired INTEGER NOT NULL, PRIMARY KEY (server, key_id)) WITHOUT ROWID"""

_OWN_KEYS = """CREATE TABLE IF NOT EXISTS own_keys (
    key_id TEXT PRIMARY KEY, seed BLOB NOT NULL, created_ms INTEGER NOT NULL, expired_ms INTEGER) WITHOUT ROWID"""

# A join under way: events stored so far are invisible; one found at a start was cut short and is cleaned up.
_JOINS = "CREATE TABLE IF NOT EXISTS joins (room INTEGER PRIMARY KEY, version TEXT NOT NULL)"

# How far a room's past was let go: every message below `place` is gone, and no timeline begins before it. `events`: how
# many went. Row `MEMBERSHIP_LOG` says the same of the membership log, `GROUPS_SWEPT` up to which state group the last
# sweep looked.
_HISTORY = """CREATE TABLE IF NOT EXISTS history (
    room INTEGER PRIMARY KEY, place INTEGER NOT NULL, events INTEGER NOT NULL)"""
MEMBERSHIP_LOG, GROUPS_SWEPT = 0, -1

PUT_ROOM = Operation(100, "INSERT OR REPLACE INTO rooms VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)")
ADVANCE_TIPS = Operation(101, "UPDATE rooms SET tips = ?2, changed = ?3 WHERE number = ?1")
ADVANCE_STATE = Operation(
    102, "UPDATE rooms SET tips = ?2, changed = ?3, state = ?4, state_changed = ?3 WHERE number = ?1"
)
PUBLISH_ROOM = Operation(103, "UPDATE rooms SET published = ?2 WHERE number = ?1")
ADD_EVENT = Operation(
    104, "INSERT INTO events (number, room, place, flags, state, id, pdu) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
PLACE_EVENT = Operation(105, "UPDATE events SET place = ?2, flags = ?3, state = ?4 WHERE number = ?1")
REDACT_EVENT = Operation(106, "UPDATE events SET redaction = ?2, pdu = ?3 WHERE number = ?1")
FLAG_EVENT = Operation(107, "UPDATE events SET flags = ?2 WHERE number = ?1")
ADD_GROUP = Operation(108, "INSERT INTO state_groups VALUES (?, ?, ?, ?)")
PUT_CURRENT = Operation(109, "INSERT OR REPLACE INTO current_state VALUES (?, ?, ?, ?, ?, ?)")
DROP_CURRENT = Operation(110, "DELETE FROM current_state WHERE room = ? AND type = ? AND state_key = ?")
PUT_MEMBERSHIP = Operation(111, "INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?, ?, ?, 0)")
FORGET_ROOM = Operation(112, "UPDATE memberships SET forgotten = 1 WHERE user = ? AND room = ?")
DROP_MEMBERSHIP = Operation(113, "DELETE FROM memberships WHERE user = ? AND room = ?")
PUT_ROOM_SERVER = Operation(114, "INSERT OR REPLACE INTO room_servers VALUES (?, ?, ?, ?)")
DROP_ROOM_SERVER = Operation(115, "DELETE FROM room_servers WHERE room = ? AND server = ?")
MEMBERSHIPS = ("memberships",)
"""The topic rung by every line of the membership log."""
LOG_MEMBERSHIP = Operation(116, "INSERT INTO membership_log VALUES (?, ?, ?, ?, ?)")
ADD_DEPARTURE = Operation(117, "INSERT OR IGNORE INTO departures VALUES (?, ?, ?)")
ADD_TO_INBOX = Operation(118, "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)")
DROP_FROM_INBOX = Operation(119, "DELETE FROM inbox WHERE number = ?")
PUT_INVITE = Operation(120, "INSERT OR REPLACE INTO invites VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
DROP_INVITE = Operation(121, "DELETE FROM invites WHERE user = ? AND room = ?")
ADD_WAITING_REDACTION = Operation(122, "INSERT OR IGNORE INTO waiting_redactions VALUES (?, ?)")
DROP_WAITING_REDACTION = Operation(123, "DELETE FROM waiting_redactions WHERE target = ? AND event = ?")
PUT_RECEIPT = Operation(124, "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)", lazy=True)
NOTE_RECEIPT = Operation(125, "INSERT OR REPLACE INTO receipt_news VALUES (?, ?)", lazy=True)
PUT_ALIAS = Operation(126, "INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)")
DROP_ALIAS = Operation(127, "DELETE FROM aliases WHERE alias = ?")
PUT_SERVER_KEY = Operation(128, "INSERT OR REPLACE INTO server_keys VALUES (?, ?, ?, ?, ?)")
ADD_OWN_KEY = Operation(129, "INSERT INTO own_keys VALUES (?, ?, ?, NULL)")
EXPIRE_OWN_KEY = Operation(130, "UPDATE own_keys SET expired_ms = ?2 WHERE key_id = ?1")
OPEN_JOIN = Operation(131, "INSERT OR REPLACE INTO joins VALUES (?, ?)")
CLOSE_JOIN = Operation(132, "DELETE FROM joins WHERE room = ?")
DROP_ROOM_EVENTS = Operation(133, "DELETE FROM events WHERE room = ?")
DROP_ROOM_STATE = Operation(134, "DELETE FROM current_state WHERE room = ?")
DROP_ROOM_MEMBERSHIPS = Operation(135, "DELETE FROM memberships WHERE room = ?")
DROP_ROOM_SERVERS = Operation(136, "DELETE FROM room_servers WHERE room = ?")
RAISE_FLOOR = Operation(137, "UPDATE rooms SET floor = ?2 WHERE number = ?1")
DROP_ROOM_INBOX = Operation(138, "DELETE FROM inbox WHERE room = ?")
COUNT_INBOX = Operation(
    139,
    "INSERT INTO inbox_held VALUES (?1, ?2, max(?3, 0), ?4) ON CONFLICT (room, origin) DO UPDATE SET"
    " bytes = max(bytes + ?3, 0), dropped = dropped + ?4",
)
FORGET_INBOX_COUNTS = Operation(140, "DELETE FROM inbox_held")
DROP_OLDEST_OF_INBOX = Operation(141, "DELETE FROM inbox WHERE room = ? AND origin = ? AND number <= ?")
FORGET_INBOX_COUNT = Operation(142, "DELETE FROM inbox_held WHERE room = ? AND origin = ?")

# What makes room. All of it is lazy: a deletion that a power cut undoes is made again. The newest row of what numbers
# are taken from stays, so that no number ever means two things.
DROP_EVENT = Operation(
    160, "DELETE FROM events WHERE number = ?1 AND number < (SELECT max(number) FROM events)", lazy=True, patient=True
)
TAKE_OUT_EVENT = Operation(161, "UPDATE events SET place = NULL WHERE number = ?", lazy=True, patient=True)
RETIRE_EVENT = Operation(
    162, "UPDATE events SET place = NULL, state = NULL, flags = ?2 WHERE number = ?1", lazy=True, patient=True
)
NOTE_HISTORY = Operation(
    163,
    "INSERT INTO history VALUES (?1, ?2, ?3) ON CONFLICT (room) DO UPDATE SET place = max(place, ?2),"
    " events = events + ?3",
    lazy=True,
    patient=True,
)
LIFT_FLOOR = Operation(164, "UPDATE rooms SET floor = max(floor, ?2) WHERE number = ?1", lazy=True, patient=True)
MARK_GAP = Operation(165, "UPDATE events SET flags = flags | 8 WHERE number = ?", lazy=True, patient=True)
DROP_DEPARTURE = Operation(166, "DELETE FROM departures WHERE event = ?", lazy=True, patient=True)
REMEMBER_REDACTION = Operation(167, "INSERT OR IGNORE INTO waiting_redactions VALUES (?, ?)", lazy=True, patient=True)
FORGET_REDACTION = Operation(
    168, "DELETE FROM waiting_redactions WHERE target = ? AND event = ?", lazy=True, patient=True
)
DROP_GROUP = Operation(
    169,
    "DELETE FROM state_groups WHERE number = ?1 AND number < (SELECT max(number) FROM state_groups)",
    lazy=True,
    patient=True,
)
CUT_MEMBERSHIP_LOG = Operation(170, "DELETE FROM membership_log WHERE number < ?", lazy=True, patient=True)

TABLES = Tables(
    name="rooms.matrix",
    ddl=(
        _ROOMS,
        _EVENTS,
        _EVENTS_BY_ID,
        _TIMELINE,
        _STATE_GROUPS,
        _CURRENT_STATE,
        _MEMBERSHIPS,
        _ROOM_SERVERS,
        _MEMBERSHIP_LOG,
        _DEPARTURES,
        _INBOX,
        _INBOX_BY_ROOM,
        _INBOX_HELD,
        _INVITES,
        _WAITING_REDACTIONS,
        _RECEIPTS,
        _RECEIPT_NEWS,
        _ALIASES,
        _SERVER_KEYS,
        _OWN_KEYS,
        _JOINS,
        _HISTORY,
    ),
    operations=tuple(value for value in list(globals().values()) if isinstance(value, Operation)),
)
