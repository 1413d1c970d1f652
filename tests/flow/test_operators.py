"""The operator on the real household and on the fake one: the same answers, the same refusals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay.admin.operations import HouseOperator
from relay.admin.operator import Operator
from relay.admin.requests import (
    AddUser,
    CheckOwner,
    CreateInvite,
    DeactivateUser,
    Doctor,
    ListUsers,
    Request,
    Restart,
    SetPassword,
    Status,
)
from relay.app import open_offline
from relay.base.config import Config
from relay.base.errors import ConflictError, InvalidInputError, NotFoundError, RelayError
from tests.fakes.people import MemoryPeople, MemoryReport

PASSWORD, OTHER = "correct horse", "battery staple"
CONFIG = Config.parse({"server": {"name": "box.example"}})


@asynccontextmanager
async def an_operator(kind: str, folder: Path) -> AsyncIterator[Operator]:
    if kind == "fake":
        yield HouseOperator(MemoryPeople(), MemoryReport(), stop=None)
    else:
        async with open_offline(folder, CONFIG) as operator:
            yield operator


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_people_come_change_and_go(kind: str, tmp_path: Path) -> None:
    async with an_operator(kind, tmp_path) as operator:
        assert await operator.carry_out(AddUser("anna", PASSWORD, admin=True)) == {"user": "@anna:box.example"}
        await operator.carry_out(AddUser("otto", OTHER))
        for password, proves in ((PASSWORD, True), (OTHER, False), ("", False)):
            assert await operator.carry_out(CheckOwner(password)) == {"owner": proves}
        await operator.carry_out(SetPassword("otto", PASSWORD))
        await operator.carry_out(DeactivateUser("otto"))
        users = (await operator.carry_out(ListUsers()))["users"]
        assert [(user["user"], user["active"]) for user in users] == [
            ("@anna:box.example", True),
            ("@otto:box.example", False),
        ]
        assert users[0]["admin"] is True
        invitation = await operator.carry_out(CreateInvite())
        assert invitation["token"]
        assert invitation["expires_ms"] > 1_700_000_000_000
        refusals: list[tuple[Request, type[RelayError]]] = [
            (AddUser("anna", PASSWORD), ConflictError),
            (AddUser("otto", PASSWORD), ConflictError),
            (AddUser("Anna!", PASSWORD), InvalidInputError),
            (SetPassword("emma", PASSWORD), NotFoundError),
            (DeactivateUser("emma"), NotFoundError),
            (Restart(), ConflictError),
        ]
        for request, kind_of_error in refusals:
            with pytest.raises(kind_of_error):
                await operator.carry_out(request)
        status = await operator.carry_out(Status())
        assert (status["running"], status["server"]) == (False, "box.example")
        findings = (await operator.carry_out(Doctor()))["findings"]
        assert all(finding.keys() == {"level", "what", "next_step"} for finding in findings)


async def test_what_was_changed_offline_is_there_the_next_time(tmp_path: Path) -> None:
    async with an_operator("real", tmp_path) as operator:
        await operator.carry_out(AddUser("anna", PASSWORD))
    async with an_operator("real", tmp_path) as operator:
        assert len((await operator.carry_out(ListUsers()))["users"]) == 1
