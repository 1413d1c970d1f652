from pathlib import Path

import pytest

from relay.base.errors import InvalidInputError
from relay.console.verbs import VERBS, find_verb, table

ROOT = Path(__file__).resolve().parents[3]


def test_the_document_shows_the_table() -> None:
    assert "\n".join(table()) in (ROOT / "hw" / "CONSOLE.md").read_text("utf-8")


def test_every_field_that_may_hold_a_secret_is_flagged() -> None:
    for verb in VERBS.values():
        for field in verb.fields:
            secrets = ("password", "passphrase", "passphrase_now", "secret")
            assert field.secret == (field.name in secrets), (verb.name, field.name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"verb": "dance"}, "no such verb"),
        ({"verb": ["plan"]}, "no such verb"),
        ({"verb": "plan", "crb": "1"}, "takes no crb"),
        ({"verb": "user_add", "name": "otto"}, "needs password"),
    ],
)
def test_what_is_not_in_the_table_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        find_verb(fields)
