"""Apps on real sockets: they log in with passwords, wait in long polls, talk and send files at the same time."""

import json
from functools import partial
from typing import Any
from urllib.parse import quote

import trio

from relay.base.ids import UserId
from relay.household import accounts
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.dialing import TcpDialer
from relay.transport.server import Server, listen
from relay.transport.tls import client_context
from tests.fakes.family import SERVER, Family, open_family

MESSAGES = 40


class RemoteApp:
    """An app that knows nothing but an address."""

    def __init__(self, client: HttpClient, port: int) -> None:
        self.client = client
        self.place = Destination("127.0.0.1", port, None, f"127.0.0.1:{port}")
        self.token = ""

    async def ask(self, method: str, path: str, body: object = None, raw: bytes | None = None) -> Any:
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        headers = [("Authorization", f"Bearer {self.token}")] if self.token else []
        response = await self.client.request(
            self.place, method, path, headers=headers, body=sent, timeout_s=30, limit_bytes=10_000_000
        )
        assert response.status == 200, (path, response.status, response.body)
        return response.body if "/download/" in path else json.loads(response.body)

    async def v3(self, method: str, path: str, body: object = None) -> Any:
        return await self.ask(method, f"/_matrix/client/v3{path}", body)

    async def log_in(self, name: str) -> None:
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": f"{name}'s password"}
        answer = await self.v3("POST", "/login", body)
        assert answer["user_id"] == f"@{name}:{SERVER}"
        self.token = answer["access_token"]

    async def read(self, room: str, wanted: int) -> list[str]:
        """Sync until `wanted` messages have come; return their bodies."""
        since, bodies = "", list[str]()
        wide = quote('{"room": {"timeline": {"limit": 100}}}')
        while len(bodies) < wanted:
            answer = await self.v3("GET", f"/sync?timeout=20000&filter={wide}{since}")
            since = f"&since={answer['next_batch']}"
            section = answer["rooms"].get("join", {}).get(room)
            if section is not None:
                events = section["timeline"]["events"]
                bodies += [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
        return bodies


async def settle_in(family: Family, name: str) -> None:
    hashed = await accounts.hash_password(f"{name}'s password")
    await family.ledger.run(accounts.create, UserId(f"@{name}:{SERVER}"), hashed, 1)


async def talk(app: RemoteApp, room: str, name: str) -> None:
    for number in range(MESSAGES // 2):
        content = {"msgtype": "m.text", "body": f"{name} {number}"}
        await app.v3("PUT", f"/rooms/{quote(room)}/send/m.room.message/{name}{number}", content)


async def chat(ann: RemoteApp, bob: RemoteApp) -> None:
    await ann.log_in("ann")
    await bob.log_in("bob")
    room = (await ann.v3("POST", "/createRoom", {"preset": "public_chat"}))["room_id"]
    await bob.v3("POST", f"/join/{quote(room)}", {})
    heard: dict[str, list[str]] = {}

    async def listen_to(app: RemoteApp, name: str) -> None:
        heard[name] = await app.read(room, MESSAGES)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen_to, ann, "ann")
        nursery.start_soon(listen_to, bob, "bob")
        nursery.start_soon(talk, ann, room, "ann")
        nursery.start_soon(talk, bob, room, "bob")
    assert heard["ann"] == heard["bob"]
    assert sorted(heard["ann"]) == sorted(f"{name} {number}" for name in ("ann", "bob") for number in range(20))
    data = bytes(range(256)) * 8000
    uri = (await ann.ask("POST", "/_matrix/media/v3/upload", raw=data))["content_uri"].removeprefix("mxc://")
    assert await bob.ask("GET", f"/_matrix/client/v1/media/download/{uri}") == data


async def test_two_apps_talk_over_sockets() -> None:
    with trio.fail_after(30):
        async with open_family(logins=True) as family, trio.open_nursery() as nursery:
            await settle_in(family, "ann")
            await settle_in(family, "bob")
            listening, stop = await listen("127.0.0.1:0", None), trio.Event()
            await nursery.start(partial(Server(family.door.answer).run, [listening], stop=stop, drain_s=1))
            dialer = TcpDialer(client_context(None), allow_private=True, timeout_s=5)
            client = HttpClient(dialer)
            await nursery.start(client.run)
            await chat(RemoteApp(client, listening.port), RemoteApp(client, listening.port))
            stop.set()
            nursery.cancel_scope.cancel()
