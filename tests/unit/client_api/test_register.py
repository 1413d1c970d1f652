from typing import Any

import pytest
import trio

from relay.household import invitations
from tests.unit.client_api.conftest import START_MS, Flat

PATH, VALIDITY = "v3/register", "v1/register/m.login.registration_token/validity"
DAN = {"username": "dan", "password": "a good password", "device_id": "PHONE"}
FLOW = ["m.login.registration_token", "m.login.dummy"]


async def _start(flat: Flat, body: Any = None) -> str:
    status, challenge = await flat.ask("POST", PATH, {} if body is None else body, token=None)
    assert (status, challenge["flows"]) == (401, [{"stages": FLOW}])
    return str(challenge["session"])


async def _stage(flat: Flat, session: str, kind: str, body: Any = DAN, **more: Any) -> tuple[int, Any]:
    return await flat.ask("POST", PATH, {**body, "auth": {"type": kind, "session": session, **more}}, token=None)


async def test_an_invitation_lets_one_person_move_in(flat: Flat) -> None:
    token = await flat.invite()
    session = await _start(flat)
    status, challenge = await _stage(flat, session, FLOW[0], token=token)
    assert (status, challenge["completed"], "errcode" in challenge) == (401, [FLOW[0]], False)
    status, answer = await _stage(flat, session, FLOW[1])
    assert (status, answer["user_id"], answer["device_id"]) == (200, "@dan:box.test", "PHONE")
    assert (await flat.ask("GET", "v3/account/whoami", token=answer["access_token"]))[0] == 200
    assert not await flat.ledger.read(invitations.is_valid, token, START_MS)
    status, refused = await _stage(flat, await _start(flat), FLOW[0], {"username": "eve"}, token=token)
    assert (status, refused["errcode"]) == (401, "M_FORBIDDEN")


async def test_two_people_with_one_invitation_at_once_are_not_two_members(flat: Flat) -> None:
    token = await flat.invite()
    statuses: list[int] = []

    async def join(name: str) -> None:
        body, session = {**DAN, "username": name}, await _start(flat)
        await _stage(flat, session, FLOW[0], body, token=token)
        statuses.append((await _stage(flat, session, FLOW[1], body))[0])

    async with trio.open_nursery() as nursery:
        for name in ("dan", "eve", "fay"):
            nursery.start_soon(join, name)
    assert sorted(statuses) == [200, 403, 403]


async def test_nobody_skips_the_invitation(flat: Flat) -> None:
    session = await _start(flat)
    status, answer = await _stage(flat, session, FLOW[1])
    assert (status, answer["errcode"], "completed" in answer) == (401, "M_FORBIDDEN", False)
    status, answer = await _stage(flat, session, FLOW[0], token="guess")
    assert (status, answer["errcode"]) == (401, "M_FORBIDDEN")
    status, answer = await _stage(flat, session, FLOW[0])
    assert (status, answer["errcode"]) == (401, "M_MISSING_PARAM")


async def test_without_a_login_there_is_no_token(flat: Flat) -> None:
    body = {**DAN, "inhibit_login": True}
    session = await _start(flat, body)
    await _stage(flat, session, FLOW[0], body, token=await flat.invite())
    assert await _stage(flat, session, FLOW[1], body) == (200, {"user_id": "@dan:box.test"})


async def test_an_account_needs_a_password(flat: Flat) -> None:
    session = await _start(flat)
    await _stage(flat, session, FLOW[0], {"username": "dan"}, token=await flat.invite())
    status, answer = await _stage(flat, session, FLOW[1], {"username": "dan"})
    assert (status, answer["errcode"]) == (400, "M_MISSING_PARAM")
    assert (await _stage(flat, session, FLOW[1]))[0] == 200


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"username": "alice"}, (400, "M_USER_IN_USE")),
        ({"username": "A B"}, (400, "M_INVALID_USERNAME")),
        ({"username": 5}, (400, "M_BAD_JSON")),
        ({"username": "dan", "password": "short"}, (400, "M_WEAK_PASSWORD")),
        (b"nonsense", (400, "M_NOT_JSON")),
    ],
)
async def test_a_bad_wish_is_refused_before_the_invitation_is_asked(
    flat: Flat, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused("POST", PATH, body, token=None) == refusal


async def test_there_are_no_guests(flat: Flat) -> None:
    assert await flat.refused("POST", f"{PATH}?kind=guest", {}, token=None) == (403, "M_FORBIDDEN")


async def test_free_names_and_valid_invitations_can_be_asked_for_but_not_listed(flat: Flat) -> None:
    assert await flat.ask("GET", "v3/register/available?username=dan", token=None) == (200, {"available": True})
    refused = await flat.refused("GET", "v3/register/available?username=alice", token=None)
    assert refused == (400, "M_USER_IN_USE")
    refused = await flat.refused("GET", "v3/register/available?username=A", token=None)
    assert refused == (400, "M_INVALID_USERNAME")
    assert await flat.refused("GET", "v3/register/available", token=None) == (400, "M_MISSING_PARAM")
    token = await flat.invite()
    assert await flat.ask("GET", f"{VALIDITY}?token={token}", token=None) == (200, {"valid": True})
    assert await flat.ask("GET", f"{VALIDITY}?token=x", token=None) == (200, {"valid": False})


async def test_guessing_invitations_is_slowed_down(flat: Flat) -> None:
    for _ in range(5):
        await flat.ask("GET", f"{VALIDITY}?token=x", token=None)
    assert await flat.refused("GET", f"{VALIDITY}?token=x", token=None) == (429, "M_LIMIT_EXCEEDED")
    assert await flat.ask("GET", f"{VALIDITY}?token=x", token=None, address="b") == (200, {"valid": False})
