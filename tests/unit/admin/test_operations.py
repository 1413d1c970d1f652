import pytest

from relay.admin.operations import HouseOperator
from relay.admin.requests import (
    AddUser,
    CreateInvite,
    DeactivateUser,
    Doctor,
    ListUsers,
    Restart,
    SetPassword,
    Status,
    Stop,
)
from relay.base.errors import ConflictError, InvalidInputError, NotFoundError
from tests.fakes.people import MemoryPeople, MemoryReport


async def test_accounts_are_made_listed_changed_and_closed() -> None:
    people = MemoryPeople()
    operator = HouseOperator(people, MemoryReport(), stop=None)
    assert await operator.carry_out(AddUser("anna", "one", admin=True)) == {"user": "@anna:box.example"}
    await operator.carry_out(SetPassword("anna", "two"))
    assert list(people.passwords.values()) == ["two"]
    await operator.carry_out(DeactivateUser("anna"))
    assert await operator.carry_out(ListUsers()) == {
        "users": [{"user": "@anna:box.example", "admin": False, "active": False}]
    }


async def test_refusals_of_the_household_pass_through() -> None:
    operator = HouseOperator(MemoryPeople(), MemoryReport(), stop=None)
    await operator.carry_out(AddUser("anna", "one"))
    with pytest.raises(ConflictError):
        await operator.carry_out(AddUser("anna", "one"))
    with pytest.raises(InvalidInputError):
        await operator.carry_out(AddUser("Anna!", "one"))
    with pytest.raises(NotFoundError):
        await operator.carry_out(SetPassword("otto", "one"))


async def test_an_invitation_says_when_it_ends() -> None:
    operator = HouseOperator(MemoryPeople(), MemoryReport(), stop=None)
    assert await operator.carry_out(CreateInvite()) == {"token": "token-1", "expires_ms": 1_800_000_000_000}


async def test_status_says_whether_anything_runs() -> None:
    offline = HouseOperator(MemoryPeople(), MemoryReport(), stop=None)
    assert (await offline.carry_out(Status()))["running"] is False
    assert (await offline.carry_out(Doctor()))["findings"][0]["level"] == "note"


async def test_stop_and_restart_reach_the_box_and_only_a_running_one() -> None:
    asked: list[bool] = []
    operator = HouseOperator(MemoryPeople(), MemoryReport(), stop=asked.append)
    await operator.carry_out(Restart())
    await operator.carry_out(Stop())
    assert asked == [True, False]
    with pytest.raises(ConflictError):
        await HouseOperator(MemoryPeople(), MemoryReport(), stop=None).carry_out(Stop())
