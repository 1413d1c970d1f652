"""What the number of an operation means in a journal never changes: a hash of what each does stands in a file.

A new operation is a new line there. A line that changes is a journal that can no longer be read.
"""

import hashlib
import json
from pathlib import Path

from relay.app.house import TABLES
from relay.store.tables import STORE_TABLES

GOLDEN = Path(__file__).with_name("journal_format.json")


def meanings() -> dict[str, str]:
    operations = [operation for tables in (STORE_TABLES, *TABLES) for operation in tables.operations]
    assert len({operation.number for operation in operations}) == len(operations)
    return {
        str(operation.number): hashlib.sha256(" ".join(operation.sql.split()).encode()).hexdigest()[:16]
        for operation in sorted(operations, key=lambda operation: operation.number)
    }


def test_every_number_means_what_it_always_meant() -> None:
    assert meanings() == json.loads(GOLDEN.read_text("utf-8"))
