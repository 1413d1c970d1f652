import itertools

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.store.chunks import Chunk, Cutter, Digests, Picture, TableForm, read_schema, table_forms, total_digest
from relay.store.packing import unpack_all

CHUNK_KEY = b"c" * 16


def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE events (number INTEGER PRIMARY KEY, body BLOB)")
    connection.execute("CREATE TABLE pairs (a INTEGER, b TEXT, c, PRIMARY KEY (a, b)) WITHOUT ROWID")
    connection.execute("CREATE TABLE plain (x)")
    connection.execute("CREATE TABLE names (number INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    connection.execute("CREATE INDEX by_body ON events (body)")
    return connection


def all_ranges(connection: apsw.Connection, name: str) -> list[Chunk]:
    return list(Cutter(CHUNK_KEY).ranges(connection, TableForm.read(connection, name)))


def test_the_schema_is_what_the_tables_were_made_with() -> None:
    schema = read_schema(database())
    assert sorted(schema.tables) == ["events", "names", "pairs", "plain"]
    assert schema.indexes == ("CREATE INDEX by_body ON events (body)",)


def test_the_form_of_a_table_says_what_rows_are_ordered_by() -> None:
    forms = {form.name: form for form in table_forms(database(), read_schema(database()).tables)}
    assert forms["events"].key == ('"number"',)
    assert forms["pairs"].key == ('"a"', '"b"')
    assert forms["plain"].columns == ("rowid", '"x"')
    assert [name for name, form in forms.items() if form.unique] == ["names"]


def test_ranges_cover_all_keys_and_every_row_once() -> None:
    connection = database()
    connection.executemany("INSERT INTO pairs VALUES (?, ?, ?)", [(n % 13, str(n), n * 0.5) for n in range(2000)])
    ranges = all_ranges(connection, "pairs")
    assert len(ranges) > 5
    assert ranges[0].low is None
    assert ranges[-1].high is None
    assert all(one.high == other.low for one, other in itertools.pairwise(ranges))
    rows = [tuple(row) for chunk in ranges for row in unpack_all(chunk.packed)]
    assert rows == connection.execute("SELECT * FROM pairs ORDER BY a, b").fetchall()


def test_large_rows_end_a_range_early() -> None:
    connection = database()
    connection.executemany("INSERT INTO events VALUES (?, ?)", [(n, bytes(60_000)) for n in range(40)])
    assert max(len(chunk.packed) for chunk in all_ranges(connection, "events")) < 200_000


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 3000), max_size=8), st.integers(0, 3000))
def test_a_few_changes_change_few_ranges(gone: set[int], added: int) -> None:
    connection = database()
    connection.executemany("INSERT INTO events VALUES (?, ?)", [(n * 7, b"x") for n in range(3000)])
    before = {chunk.digest for chunk in all_ranges(connection, "events")}
    connection.executemany("DELETE FROM events WHERE number = ?", [(n * 7,) for n in gone])
    connection.execute("INSERT OR REPLACE INTO events VALUES (?, 'new')", (added,))
    after = all_ranges(connection, "events")
    assert sum(chunk.digest not in before for chunk in after) <= 2 * (len(gone) + 1)


def test_an_empty_table_is_one_open_range() -> None:
    (chunk,) = all_ranges(database(), "plain")
    assert (chunk.low, chunk.high, chunk.packed) == (None, None, b"")


def test_a_picture_knows_what_it_took_in_and_nothing_else() -> None:
    connection = database()
    connection.executemany("INSERT INTO events VALUES (?, 'x')", [(n,) for n in range(500)])
    picture, digests = Picture(CHUNK_KEY), Digests()
    picture.restart(read_schema(connection))
    ranges = all_ranges(connection, "events")
    assert not any(map(picture.holds, ranges))
    for chunk in ranges:
        digests.add(chunk)
    picture.replace(digests)
    again = Picture.unpack(picture.pack())
    assert all(map(again.holds, ranges))
    assert again.fits(read_schema(connection))
    connection.execute("UPDATE events SET body = 'y' WHERE number = 250")
    assert sum(not again.holds(chunk) for chunk in all_ranges(connection, "events")) == 1
    connection.execute("CREATE TABLE more (x INTEGER PRIMARY KEY)")
    assert not again.fits(read_schema(connection))


def test_equal_content_has_one_digest_however_it_came_about() -> None:
    one, other = database(), database()
    for connection, order in ((one, range(300)), (other, range(299, -1, -1))):
        connection.executemany("INSERT INTO plain VALUES (?)", [("x",)] * 300)
        connection.executemany("INSERT INTO events VALUES (?, ?)", [(n, str(n)) for n in order])
    assert total_digest(one, CHUNK_KEY) == total_digest(other, CHUNK_KEY)
    other.execute("UPDATE events SET body = 0 WHERE number = 7")
    assert total_digest(one, CHUNK_KEY) != total_digest(other, CHUNK_KEY)


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        Picture.unpack(b"\x01")
