import pytest

from relay.store.tables import STORE_TABLES, Operation, Tables, layout_digest, number_operations


def test_two_rooms_may_not_share_a_number() -> None:
    first = Tables("first", (), (Operation(900, "DELETE FROM a"),))
    second = Tables("second", (), (Operation(900, "DELETE FROM b"),))
    with pytest.raises(ValueError, match="900 of second"):
        number_operations((first, second))


def test_the_layout_changes_with_any_definition_and_not_with_operations() -> None:
    base = Tables("room", ("CREATE TABLE a(b)",), ())
    assert layout_digest((base,)) == layout_digest((Tables("room", base.ddl, (Operation(900, "DELETE FROM a"),)),))
    assert layout_digest((base,)) != layout_digest((Tables("room", ("CREATE TABLE a(b, c)",), ()),))


def test_the_store_keeps_to_its_own_numbers() -> None:
    assert all(operation.number < 100 for operation in STORE_TABLES.operations)
