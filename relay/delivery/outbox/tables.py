"""What outboxes keep: how far each destination has come, what waits for it beside events, what is under way."""

from relay.store.tables import Operation, Tables

# `cursor`: every departure up to this one has arrived there. `failing_since_ms`: NULL while it answers.
# `queued_bytes`, `dropped`: of `outbox_edu`, kept here so that a quota is one look and not a sum.
_DESTINATION = """CREATE TABLE IF NOT EXISTS outbox_destination (
    server INTEGER PRIMARY KEY, cursor INTEGER NOT NULL, failing_since_ms INTEGER, heard_ms INTEGER NOT NULL,
    queued_bytes INTEGER NOT NULL, dropped INTEGER NOT NULL)"""
# A transaction that has not been answered yet: sent again after a crash it is the same transaction.
_FLIGHT = """CREATE TABLE IF NOT EXISTS outbox_flight (
    server INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL, made_ms INTEGER NOT NULL, events_to INTEGER NOT NULL,
    edu_position INTEGER NOT NULL, edu_place INTEGER NOT NULL, count INTEGER NOT NULL)"""
# `subject`: the user whose older update of the same kind this one replaces, 0 for what is never replaced.
_EDU = """CREATE TABLE IF NOT EXISTS outbox_edu (
    server INTEGER NOT NULL, position INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL,
    subject INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (server, position, place)) WITHOUT ROWID"""
# One row: every departure up to `dispatched` has been looked at; a destination without a row is owed nothing older.
_STATE = "CREATE TABLE IF NOT EXISTS outbox_state (one INTEGER PRIMARY KEY, dispatched INTEGER NOT NULL)"

ADVANCE = Operation(
    500,
    "INSERT INTO outbox_destination VALUES (?1, ?2, NULL, ?3, 0, 0) ON CONFLICT (server) DO UPDATE SET"
    " cursor = max(cursor, ?2), failing_since_ms = NULL, heard_ms = max(heard_ms, ?3)",
    lazy=True,
)
FAIL = Operation(
    501,
    "INSERT INTO outbox_destination VALUES (?1, ?2, ?3, 0, 0, 0) ON CONFLICT (server) DO UPDATE SET"
    " failing_since_ms = coalesce(failing_since_ms, ?3)",
    lazy=True,
)
HEAR = Operation(
    502,
    "INSERT INTO outbox_destination VALUES (?1, ?2, NULL, ?3, 0, 0) ON CONFLICT (server) DO UPDATE SET"
    " heard_ms = max(heard_ms, ?3)",
    lazy=True,
)
ADD_EDU = Operation(503, "INSERT INTO outbox_edu VALUES (?, ?, ?, ?, ?, ?)")
COUNT_EDU = Operation(
    504,
    "INSERT INTO outbox_destination VALUES (?1, ?2, NULL, 0, ?3, 0) ON CONFLICT (server) DO UPDATE SET"
    " queued_bytes = queued_bytes + ?3",
)
REPLACE_EDU = Operation(505, "DELETE FROM outbox_edu WHERE server = ? AND position = ? AND place = ?")
DROP_EDUS = Operation(506, "DELETE FROM outbox_edu WHERE server = ? AND (position, place) <= (?, ?)", lazy=True)
UNCOUNT_EDUS = Operation(
    507, "UPDATE outbox_destination SET queued_bytes = max(queued_bytes - ?2, 0) WHERE server = ?1", lazy=True
)
COUNT_DROPPED = Operation(
    508,
    "UPDATE outbox_destination SET queued_bytes = max(queued_bytes - ?2, 0), dropped = dropped + ?3 WHERE server = ?1",
)
TAKE_OFF = Operation(509, "INSERT OR REPLACE INTO outbox_flight VALUES (?, ?, ?, ?, ?, ?, ?)", lazy=True)
TOUCH_DOWN = Operation(510, "DELETE FROM outbox_flight WHERE server = ? AND transaction_id = ?", lazy=True)
DISPATCHED = Operation(
    511,
    "INSERT INTO outbox_state VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET dispatched = max(dispatched, ?1)",
    lazy=True,
)
CATCH_UP = Operation(512, "UPDATE outbox_destination SET cursor = max(cursor, ?2) WHERE server = ?1", lazy=True)
RECOUNT = Operation(513, "UPDATE outbox_destination SET queued_bytes = ?2 WHERE server = ?1")

TABLES = Tables(
    name="delivery.outbox",
    ddl=(_DESTINATION, _FLIGHT, _EDU, _STATE),
    operations=tuple(value for value in list(globals().values()) if isinstance(value, Operation)),
)
