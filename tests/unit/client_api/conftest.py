import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.base.config import RateConfig
from relay.base.ids import DeviceId, ServerName, UserId
from relay.client_api import (
    account,
    account_data,
    cross_signing,
    devices,
    filters,
    key_backup,
    keys,
    login,
    profile,
    push_rules,
    register,
)
from relay.client_api.door import Door
from relay.client_api.interactive_auth import InteractiveAuth
from relay.delivery.ledger import Change, Ledger
from relay.household import accounts, device_lists, invitations, sessions
from relay.household.key_queries import KeyQueries
from relay.household.login_limits import LoginLimits
from relay.household.sessions import Sessions
from relay.household.tables import TABLES
from relay.household.tokens import Tokens
from tests.fakes.bounds import admission
from tests.fakes.clock import FakeClock
from tests.fakes.http import answer_json, make_request
from tests.fakes.ledger import memory_ledger
from tests.fakes.people_peers import MemoryPeoplePeers

SERVER = ServerName("box.test")
ALICE, BOB, CAROL = UserId("@alice:box.test"), UserId("@bob:box.test"), UserId("@carol:far.test")
PHONE, TABLET = DeviceId("PHONE"), DeviceId("TABLET")
PASSWORD = "correct horse battery"
START_MS = 1_800_000_000_000


@functools.cache
def _password_hash() -> str:
    return accounts._hash(PASSWORD)


class Flat:
    """The household's endpoints on one door, and what they told others.

    Alice lives here with her phone, Bob with his; the access token of a device is its user and id.

    Attributes:
        noted: (user, device or None) for every change others were told of.
        spread: profiles shown in rooms; `left`: who was taken out of all rooms.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.clock = FakeClock(START_MS, tick_ms=0)
        self.now_s = 0.0
        self.peers = MemoryPeoplePeers()
        self.noted: list[tuple[UserId, DeviceId | None]] = []
        self.spread: list[tuple[UserId, dict[str, Any]]] = []
        self.left: list[UserId] = []
        self.door = Door(Sessions(ledger, self.clock).authenticate, admission())
        limits = LoginLimits(RateConfig(login_burst=5, login_per_minute=6), now_s=lambda: self.now_s)
        auth = InteractiveAuth(ledger, SERVER, limits, now_s=lambda: self.now_s)
        queries = KeyQueries(ledger, self.peers, SERVER, lambda _index, _user: 0)
        login.register(self.door, ledger, self.clock, server=SERVER, limits=limits, note=self._note)
        account.register(self.door, ledger, self.clock, auth=auth, note=self._note, leave_rooms=self._leave_rooms)
        register.register(self.door, ledger, self.clock, server=SERVER, auth=auth, limits=limits)
        devices.register(self.door, ledger, auth, self._note)
        keys.register(self.door, ledger, queries, self._note, self._changes)
        cross_signing.register(self.door, ledger, auth, queries, self._note)
        key_backup.register(self.door, ledger)
        account_data.register(self.door, ledger)
        filters.register(self.door, ledger)
        push_rules.register(self.door, ledger)
        profile.register(self.door, ledger, SERVER, self.peers, self._spread)

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = f"{ALICE} {PHONE}", address: str = "a"
    ) -> tuple[int, Any]:
        """Return (status, JSON) of a request below `/_matrix/client/`."""
        request = make_request(method, f"/_matrix/client/{path}", body=body, token=token, address=address)
        response = await self.door.answer(request)
        return response.status, await answer_json(response)

    async def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Return (status, errcode) of a request."""
        status, answer = await self.ask(method, path, body, **more)
        return status, answer.get("errcode", "")

    async def with_password(self, method: str, path: str, body: dict[str, Any], **more: Any) -> tuple[int, Any]:
        """Ask, answer the challenge with the right password, and return the second answer."""
        status, challenge = await self.ask(method, path, body, **more)
        assert status == 401
        assert challenge["flows"] == [{"stages": ["m.login.password"]}]
        return await self.ask(method, path, {**body, "auth": password_auth(session=challenge["session"])}, **more)

    async def invite(self, token: str = "invitation", ttl_ms: int = 1_000) -> str:
        await self.ledger.run(invitations.create, token, self.clock.now_ms, ttl_ms)
        return token

    def _note(self, change: Change, user: UserId, device: DeviceId | None) -> None:
        device_lists.note_changed(change, user)
        self.noted.append((user, device))

    async def _leave_rooms(self, user: UserId) -> None:
        self.left.append(user)

    async def _spread(self, user: UserId, shown: dict[str, Any]) -> None:
        self.spread.append((user, shown))

    async def _changes(self, user: UserId, begin: str, end: str) -> dict[str, Any]:
        return {"changed": [user], "left": [begin, end]}


def password_auth(user: str = ALICE, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


def _move_in(change: Change) -> None:
    for user in (ALICE, BOB):
        accounts.create(change, user, _password_hash(), START_MS)
        sessions.open_session(change, user, PHONE, "the phone", START_MS, Tokens(f"{user} {PHONE}"))


@pytest.fixture
async def flat() -> AsyncIterator[Flat]:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(_move_in)
        yield Flat(ledger)
