"""The sealed file of an account: whole or refused, with the byte where the damage is."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import ConfigError, DamagedError, InvalidInputError, RelayError, WrongKeyError
from relay.base.limits import MAX_LUGGAGE_PAGE_BYTES
from relay.cli.luggage import Luggage, LuggageWriter
from relay.household.luggage import Record
from relay.store.archive_key import Secret

SECRET = Secret.from_file(b"k" * 32)
RECORDS: list[Record] = [
    ["account", {"format": 1, "user": "@anna:old.test", "server": "old.test"}],
    ["picture", {"content_type": "image/png"}],
    ["piece", bytes(MAX_LUGGAGE_PAGE_BYTES)],
    ["profile", {"displayname": "Anna"}],
    ["data", None, "m.secret_storage.default_key", {"key": "K1"}],
    ["data", "!a:b", "m.tag", {"tags": {}}],
    ["backup", b"n" * 16, "a", {}],
    ["keys", b"n" * 16, [["!a:b", "s", {}], ["!a:b", "t", {}]]],
    ["room", {"room": "!a:b", "name": "A"}],
]


def sealed(records: list[Record] = RECORDS) -> bytes:
    pipe = io.BytesIO()
    writer = LuggageWriter(None, pipe, SECRET)
    writer.add(records)
    writer.finish()
    assert writer.size_bytes == len(pipe.getvalue())
    return pipe.getvalue()


WHOLE = sealed()


def test_what_was_sealed_is_read_twice_and_known_beforehand() -> None:
    luggage = Luggage(io.BytesIO(WHOLE), SECRET)
    contents = luggage.contents
    assert (contents.user, contents.default_key, contents.backups) == ("@anna:old.test", "K1", [b"n" * 16])
    assert contents.rooms == [{"room": "!a:b", "name": "A"}]
    assert contents.counts == {
        "account": 1, "picture": 1, "piece": 1, "profile": 1, "data": 2, "backup": 1, "keys": 2, "room": 1,
    }  # fmt: skip
    pages = list(luggage.pages())
    assert [record for page in pages for record in page] == RECORDS
    assert len(pages) == 3


@given(place=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255))
@settings(max_examples=60)
def test_a_changed_byte_anywhere_is_refused(place: int, flip: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= flip
    with pytest.raises(RelayError):
        Luggage(io.BytesIO(bytes(damaged)), SECRET)


@given(length=st.integers(0, len(WHOLE) - 1))
@settings(max_examples=40)
def test_a_file_that_is_cut_off_or_goes_on_is_refused_with_the_byte(length: int) -> None:
    with pytest.raises(DamagedError, match="byte"):
        Luggage(io.BytesIO(WHOLE[:length]), SECRET)
    with pytest.raises(DamagedError, match="byte"):
        Luggage(io.BytesIO(WHOLE + b"x"), SECRET)


def test_another_key_and_another_kind_of_file_are_named() -> None:
    with pytest.raises(WrongKeyError):
        Luggage(io.BytesIO(WHOLE), Secret.from_file(b"l" * 32))
    with pytest.raises(ConfigError, match="key file"):
        Luggage(io.BytesIO(WHOLE), Secret.from_passphrase(b"a long passphrase"))
    with pytest.raises(DamagedError, match="no account"):
        Luggage(io.BytesIO(sealed([["schema", 1]])), SECRET)
    with pytest.raises(DamagedError, match="no account"):
        Luggage(io.BytesIO(sealed([])), SECRET)
    with pytest.raises(InvalidInputError, match="newer release"):
        Luggage(io.BytesIO(sealed([["account", {"format": 2, "user": "@a:b"}]])), SECRET)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "anna"
    target.write_bytes(b"the last one")
    writer = LuggageWriter(target, io.BytesIO(), SECRET)
    writer.discard()
    writer = LuggageWriter(target, io.BytesIO(), SECRET)
    for _ in range(4):
        writer.add(RECORDS)
    assert target.read_bytes() == b"the last one"
    writer.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]
    writer = LuggageWriter(target, io.BytesIO(), SECRET)
    writer.add(RECORDS)
    writer.finish()
    with target.open("rb") as file:
        assert Luggage(file, SECRET).contents.user == "@anna:old.test"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["anna"]
