from typing import Any

import pytest

from relay.base.limits import MAX_UIA_SESSIONS, UIA_SESSION_LIFE_S
from tests.unit.client_api.conftest import BOB, PHONE, TABLET, Flat, password_auth

DELETE = ("POST", "v3/delete_devices", {"devices": [TABLET]})


async def _challenge(flat: Flat, auth: Any = None, **more: Any) -> tuple[int, Any]:
    method, path, body = DELETE
    return await flat.ask(method, path, body | ({} if auth is None else {"auth": auth}), **more)


async def test_without_auth_the_way_is_shown_and_nothing_is_an_error(flat: Flat) -> None:
    status, challenge = await _challenge(flat)
    assert (status, set(challenge)) == (401, {"session", "flows", "params"})


async def test_a_wrong_password_can_be_tried_again_in_the_same_session(flat: Flat) -> None:
    _, challenge = await _challenge(flat)
    session = challenge["session"]
    status, again = await _challenge(flat, password_auth(password="wrong", session=session))
    assert (status, again["errcode"], again["session"]) == (401, "M_FORBIDDEN", session)
    assert await _challenge(flat, password_auth(session=session)) == (200, {})


async def test_a_finished_session_opens_nothing_again(flat: Flat) -> None:
    _, challenge = await _challenge(flat)
    await _challenge(flat, password_auth(session=challenge["session"]))
    status, again = await _challenge(flat, {"session": challenge["session"]})
    assert (status, again["errcode"]) == (401, "M_FORBIDDEN")
    assert again["session"] != challenge["session"]


async def test_an_expired_session_starts_again(flat: Flat) -> None:
    _, challenge = await _challenge(flat)
    flat.now_s = UIA_SESSION_LIFE_S
    status, again = await _challenge(flat, password_auth(session=challenge["session"]))
    assert (status, again["errcode"]) == (401, "M_FORBIDDEN")
    assert await _challenge(flat, password_auth(session=again["session"])) == (200, {})


async def test_the_oldest_sessions_give_way(flat: Flat) -> None:
    _, first = await _challenge(flat)
    for _ in range(MAX_UIA_SESSIONS):
        await _challenge(flat)
    status, again = await _challenge(flat, password_auth(session=first["session"]))
    assert (status, again["errcode"]) == (401, "M_FORBIDDEN")


async def test_a_session_is_worth_nothing_for_another_person_or_deed(flat: Flat) -> None:
    _, challenge = await _challenge(flat)
    auth = password_auth(BOB, session=challenge["session"])
    status, _ = await _challenge(flat, auth, token=f"{BOB} {PHONE}")
    assert status == 401
    body = {"devices": [PHONE], "auth": password_auth(session=challenge["session"])}
    assert (await flat.ask("POST", "v3/delete_devices", body))[0] == 401


async def test_somebody_elses_password_does_not_help(flat: Flat) -> None:
    status, answer = await _challenge(flat, password_auth(BOB))
    assert (status, answer["errcode"]) == (401, "M_FORBIDDEN")


async def test_a_password_without_a_session_is_enough(flat: Flat) -> None:
    assert await _challenge(flat, password_auth()) == (200, {})
    assert await _challenge(
        flat, {"type": "m.login.password", "user": "alice", "password": password_auth()["password"]}
    )


@pytest.mark.parametrize(
    ("auth", "refusal"),
    [
        ("text", (400, "M_BAD_JSON")),
        (["m.login.password"], (400, "M_BAD_JSON")),
        ({"session": 5}, (400, "M_BAD_JSON")),
        ({"type": "m.login.dummy"}, (401, "M_FORBIDDEN")),
        ({"type": 5}, (401, "M_FORBIDDEN")),
        ({"type": []}, (401, "M_FORBIDDEN")),
        ({"type": "m.login.password"}, (401, "M_MISSING_PARAM")),
        (password_auth() | {"password": 5}, (401, "M_BAD_JSON")),
    ],
)
async def test_malformed_auth_is_refused(flat: Flat, auth: Any, refusal: tuple[int, str]) -> None:
    status, answer = await _challenge(flat, auth)
    assert (status, answer["errcode"]) == refusal


async def test_guesses_are_counted_here_too(flat: Flat) -> None:
    for _ in range(5):
        await _challenge(flat, password_auth(password="wrong"))
    status, answer = await _challenge(flat, password_auth())
    assert (status, answer["errcode"]) == (429, "M_LIMIT_EXCEEDED")
