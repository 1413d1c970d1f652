from typing import Any

import pytest

from relay.app.backup_chain import BackupHead, Chain, is_media_name
from relay.base.errors import ConflictError, DamagedError

MEDIA = "0123456789abcdef" * 2
REACHED = ["reached", 7, 3, 1, b"d"]


def head(number: int = 0, parent: bytes = b"") -> list[Any]:
    fields = {"version": "1", "server": "box.example", "made_ms": 5, "id": b"%d" % number, "parent": parent}
    return ["backup", {**fields, "number": number, "chunk_key": b"c" * 16, "settings": {}}]


def take_all(*records: list[Any]) -> Chain:
    chain = Chain()
    for record in records:
        chain.take(record)
    chain.close()
    return chain


def test_what_is_in_it_is_counted() -> None:
    contents = take_all(
        head(),
        ["file", "relay.toml", 0o600, b"x"],
        ["keyring", {}],
        ["media", MEDIA, 0, b"ab", False],
        ["media", MEDIA, 2, b"c", True],
        ["schema", {}, [], 0],
        ["rows", "events", None, [1], b"rows"],
        REACHED,
        ["end", 1],
    ).contents
    assert (contents.files, contents.rows_bytes, contents.media_files, contents.media_bytes) == (1, 4, 1, 3)
    assert contents.reached is not None
    assert contents.reached.position == 7


def test_backups_that_follow_each_other_are_one() -> None:
    contents = take_all(
        head(0), REACHED, ["end", 0], head(1, b"0"), REACHED, ["end", 0], head(2, b"1"), REACHED, ["end", 0]
    )
    assert contents.contents.backups == 3


@pytest.mark.parametrize(
    "records",
    [
        [head(1, b"0")],
        [head(0), REACHED, ["end", 0], head(2, b"1")],
        [head(0), REACHED, ["end", 0], head(3)],
    ],
)
def test_a_chain_with_a_hole_is_refused(records: list[list[Any]]) -> None:
    with pytest.raises(ConflictError, match="builds on"):
        take_all(*records)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [["rows", "events", None, None, b""]],
        [["backup", {}]],
        [["backup", {**head()[1], "made_ms": "5"}]],
        [head(), head()],
        [head(), ["end", 0]],
        [head(), REACHED],
        [head(), REACHED, ["end", 1]],
        [head(), ["reached", 1]],
        [head(), ["dance"]],
        [head(), ["media", "../etc/passwd", 0, b"", True]],
        [head(), ["media", MEDIA, 5, b"", True]],
        [head(), ["media", MEDIA, 0, b"ab", False], ["media", MEDIA, 1, b"", True]],
        [head(), REACHED, ["end", 0], ["keyring", {}]],
    ],
)
def test_what_is_out_of_order_or_unknown_is_damage(records: list[list[Any]]) -> None:
    with pytest.raises(DamagedError):
        take_all(*records)


def test_a_file_deleted_while_it_was_read_is_no_damage() -> None:
    other = "f" * 32
    chain = take_all(head(), ["media", MEDIA, 0, b"ab", False], ["media", other, 0, b"x", True], REACHED, ["end", 1])
    assert chain.contents.media_files == 1


def test_the_head_says_where_the_backup_came_from() -> None:
    assert BackupHead.read(head(1, b"0")).parent == b"0"


def test_only_what_can_be_a_media_file_has_such_a_name() -> None:
    assert is_media_name(MEDIA)
    assert not is_media_name(MEDIA.upper())
    assert not is_media_name(MEDIA[:-1])
