import pytest

from relay.base.errors import InvalidParamError
from relay.base.limits import MAX_PROFILE_BYTES
from relay.household import profile
from relay.household.faults import ProfileKeyTooLargeError, ProfileTooLargeError
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB


async def test_fields_are_set_changed_and_removed(ledger: Ledger) -> None:
    assert await ledger.run(profile.put, ALICE, "displayname", "Alice")
    assert not await ledger.run(profile.put, ALICE, "displayname", "Alice")
    assert await ledger.run(profile.put, ALICE, "org.example.pronouns", ["she"])
    assert await ledger.run(profile.put, ALICE, "org.example.none", None)
    assert await ledger.read(profile.get, ALICE) == {
        "displayname": "Alice",
        "org.example.none": None,
        "org.example.pronouns": ["she"],
    }
    assert await ledger.run(profile.remove, ALICE, "displayname")
    assert not await ledger.run(profile.remove, ALICE, "displayname")
    await ledger.run(profile.erase, ALICE)
    assert await ledger.read(profile.get, ALICE) == await ledger.read(profile.get, BOB) == {}


@pytest.mark.parametrize("field", ["Name", "name", "a..b", ".a", "a.B", "displayname2", ""])
async def test_field_names_follow_the_grammar(ledger: Ledger, field: str) -> None:
    with pytest.raises(InvalidParamError):
        await ledger.run(profile.put, ALICE, field, "x")
    with pytest.raises(InvalidParamError):
        await ledger.run(profile.remove, ALICE, field)


@pytest.mark.parametrize("field", ["displayname", "avatar_url", "m.tz"])
async def test_known_fields_are_texts(ledger: Ledger, field: str) -> None:
    with pytest.raises(InvalidParamError):
        await ledger.run(profile.put, ALICE, field, 5)


async def test_a_profile_stays_under_its_limit(ledger: Ledger) -> None:
    rest = len('{"displayname":""}')
    await ledger.run(profile.put, ALICE, "displayname", "x" * (MAX_PROFILE_BYTES - rest - 1))
    with pytest.raises(ProfileTooLargeError):
        await ledger.run(profile.put, ALICE, "displayname", "x" * (MAX_PROFILE_BYTES - rest))
    with pytest.raises(ProfileKeyTooLargeError):
        await ledger.run(profile.put, ALICE, "a." + "b" * 254, "")
