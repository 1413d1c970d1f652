"""A whole house whose journal is held back: nobody sees, and no peer is sent, what a power cut could undo."""

import contextlib
import copy
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relay.app.family import family_door
from relay.app.health import HouseReport
from relay.app.house import Flash, House, open_house
from relay.app.network import Network, open_network
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.ids import DeviceId, EventId, RoomId, ServerName, UserId
from relay.client_api.door import Door
from relay.core.matrix import canonical_json
from relay.household import accounts, sessions
from relay.household.sessions import Sessions
from relay.household.tokens import Tokens
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import departures
from relay.store.committer import PendingChange
from relay.store.ledger import Change, Ledger
from relay.transport.message import Request, Response
from tests.fakes.federated import FederatedBox, FederatedTown, Places
from tests.fakes.held_flash import HeldFiles, HeldWorkers
from tests.fakes.http import make_request, whole_body
from tests.fakes.ledger import SEGMENT_BYTES

NAME = "ada.example"
CONFIG = Config.parse({"server": {"name": NAME}, "delivery": {"retry_first_s": 0.05, "retry_most_s": 0.2}})
V1 = "/_matrix/federation/v1"
LOST = "not on flash"
"""Part of everything written while the journal is held."""


class Person:
    """One app of somebody at home."""

    def __init__(self, door: Door, localpart: str) -> None:
        self.door = door
        self.user = UserId(f"@{localpart}:{NAME}")
        self.token = f"token of {localpart}"

    async def ask(self, method: str, path: str, body: Any = None) -> Response:
        target = path if path.startswith("/_matrix") else f"/_matrix/client/v3{path}"
        return await self.door.answer(make_request(method, target, body=body, token=self.token))

    async def good(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status == 200, (path, answer.body)
        return json.loads(await whole_body(answer))


class Home:
    """The house under test, its people, and the neighbour's box."""

    def __init__(self, house: House, network: Network, bob: FederatedBox, files: HeldFiles) -> None:
        self.house = house
        self.network = network
        self.bob = bob
        self.files = files
        door = family_door(house, network)
        self.alice, self.ann = Person(door, "alice"), Person(door, "ann")
        self.room = RoomId("")
        self.known = EventId("")
        self.heard: list[tuple[str, bytes]] = []
        """What the neighbour was sent: target and body."""
        self.answers: dict[str, tuple[int, bytes]] = {}

    @property
    def shown(self) -> str:
        return quote(self.room, safe="")

    async def as_neighbour(self, method: str, target: str, content: Any = None) -> Response:
        unsigned: dict[str, Any] = {"method": method, "uri": target, "origin": self.bob.name, "destination": NAME}
        if content is not None:
            unsigned["content"] = content
        sig = b64encode(self.bob.key.sign(canonical_json.encode_lenient(unsigned))).decode()
        header = f'X-Matrix origin="{self.bob.name}",destination="{NAME}",key="{self.bob.key.key_id}",sig="{sig}"'
        body = b"" if content is None else json.dumps(content).encode()
        request = make_request(method, target, body=body, headers=[("Authorization", header)])
        return await self.network.federation.answer(request)

    async def note(self, name: str, ask: Any) -> None:
        """Ask and keep the whole answer under `name`."""
        answer: Response = await ask
        self.answers[name] = (answer.status, await whole_body(answer))

    async def neighbours_event(self, text: str) -> dict[str, Any]:
        """Return an event of the neighbour's that this house has not got, and will not get by itself."""
        newest = await self.bob.ledger.read(departures.newest)
        await self.bob.say(self.room, self.bob.user("bert"), text)
        (made,) = await self.bob.ledger.read(departures.since, ServerName(NAME), newest, 10)
        return copy.deepcopy(dict(made.event.raw))


@contextlib.asynccontextmanager
async def open_home(folder: Path, files: HeldFiles | None = None, *, clock: Clock | None = None) -> AsyncIterator[Home]:
    """Open the house with Alice and Ann in a room with Bert, who lives next door."""
    files = HeldFiles() if files is None else files
    flash = Flash(files=files, workers=HeldWorkers(), segment_bytes=SEGMENT_BYTES)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            town = FederatedTown(nursery)
            async with town.box("bob.example") as bob, open_house(folder, CONFIG, flash, clock=clock) as house:
                network = await open_network(house, town.network, Places())
                async with trio.open_nursery() as workers:
                    await network.start(workers)
                    home = Home(house, network, bob, files)
                    town.network.serve(NAME, 8448, network.federation.answer)
                    town.network.serve(bob.name, 8448, listener(home))
                    await _settle_in(home)
                    await town.cut_off(NAME)
                    try:
                        yield home
                    finally:
                        files.release()
                    workers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


def listener(home: Home) -> Any:
    async def answer(request: Request) -> Response:
        body = await request.body(1 << 20)
        if not request.target.startswith("/_matrix/key/"):
            home.heard.append((request.target, body))
        return await home.bob.router.answer(request)

    return answer


async def _settle_in(home: Home) -> None:
    def move_in(change: Change) -> None:
        for person in (home.alice, home.ann):
            accounts.create(change, person.user, "no password", 1)
            issued = Tokens(person.token)
            sessions.open_session(change, person.user, DeviceId("PHONE"), "phone", home.house.clock.wall_ms(), issued)

    await home.house.ledger.run(move_in)
    made = await home.alice.good("POST", "/createRoom", {"preset": "public_chat", "room_alias_name": "hall"})
    home.room = RoomId(made["room_id"])
    await home.ann.good("POST", f"/join/{home.shown}")
    bert = await home.bob.add_user("bert")
    await home.bob.joining.join(bert, home.room, [ServerName(NAME)], {})
    path = f"/rooms/{home.shown}/send/m.room.message/first"
    home.known = EventId((await home.alice.good("PUT", path, {"msgtype": "m.text", "body": "kept"}))["event_id"])
    await home.bob.wait_for(home.room, "kept")
    # Acknowledged by the sync after next: a read that has something to write.
    note = {"messages": {home.ann.user: {"PHONE": {"text": "kept"}}}}
    await home.alice.good("PUT", "/sendToDevice/a.note/t0", note)
    one_time = {f"curve25519:K{number}": f"key{number}" for number in range(4)}
    await home.ann.good("POST", "/keys/upload", {"one_time_keys": one_time})


def writes(home: Home, pdu: dict[str, Any]) -> dict[str, Any]:
    """Return everything that changes the house, by name: not yet asked."""
    alice, ann, room = home.alice, home.ann, home.shown
    bert = home.bob.user("bert")
    note = {ann.user: {"PHONE": {"text": LOST}}, bert: {"D1": {"text": LOST}}}
    claim = {ann.user: {"PHONE": "curve25519"}}
    profile = f"/profile/{quote(alice.user)}/displayname"
    return {
        "send": alice.ask("PUT", f"/rooms/{room}/send/m.room.message/t1", {"msgtype": "m.text", "body": LOST}),
        "send again": alice.ask("PUT", f"/rooms/{room}/send/m.room.message/t1", {"msgtype": "m.text", "body": LOST}),
        "set state": alice.ask("PUT", f"/rooms/{room}/state/m.room.topic", {"topic": LOST}),
        "set profile": alice.ask("PUT", profile, {"displayname": LOST}),
        "set account data": ann.ask("PUT", f"/user/{quote(ann.user)}/account_data/a.b", {"text": LOST}),
        "send to devices": alice.ask("PUT", "/sendToDevice/a.note/t2", {"messages": note}),
        "claim": alice.ask("POST", "/keys/claim", {"one_time_keys": claim}),
        "upload": alice.ask("POST", "/_matrix/media/v3/upload", {"file": LOST}),
        "transaction": home.as_neighbour("PUT", f"{V1}/send/t3", {"pdus": [pdu]}),
        "neighbour claims": home.as_neighbour("POST", f"{V1}/user/keys/claim", {"one_time_keys": claim}),
    }


def reads(home: Home, since: str) -> dict[str, Any]:
    """Return everything that shows the house to somebody, by name: not yet asked."""
    ann, room, near = home.ann, home.shown, home.as_neighbour
    known, alice = quote(home.known, safe=""), quote(home.alice.user)
    bert = quote(home.bob.user("bert"))
    gap = {"earliest_events": [], "latest_events": [home.known], "limit": 5}
    return {
        "messages": ann.ask("GET", f"/rooms/{room}/messages?dir=b&limit=20"),
        "state": ann.ask("GET", f"/rooms/{room}/state"),
        "topic": ann.ask("GET", f"/rooms/{room}/state/m.room.topic"),
        "members": ann.ask("GET", f"/rooms/{room}/members"),
        "context": ann.ask("GET", f"/rooms/{room}/context/{known}?limit=20"),
        "event": ann.ask("GET", f"/rooms/{room}/event/{known}"),
        "profile": ann.ask("GET", f"/profile/{alice}"),
        "account data": ann.ask("GET", f"/user/{quote(ann.user)}/account_data/a.b"),
        "keys": ann.ask("POST", "/keys/query", {"device_keys": {home.alice.user: []}}),
        "initial sync": ann.ask("GET", "/sync?timeout=0"),
        "next sync": ann.ask("GET", f"/sync?timeout=0&since={since}"),
        "neighbour's event": near("GET", f"{V1}/event/{known}"),
        "neighbour's state": near("GET", f"{V1}/state/{room}?event_id={known}"),
        "neighbour's state ids": near("GET", f"{V1}/state_ids/{room}?event_id={known}"),
        "neighbour's auth": near("GET", f"{V1}/event_auth/{room}/{known}"),
        "neighbour's backfill": near("GET", f"{V1}/backfill/{room}?v={known}&limit=5"),
        "neighbour's gap": near("POST", f"{V1}/get_missing_events/{room}", gap),
        "neighbour joins": near("GET", f"{V1}/make_join/{room}/{bert}?ver=12&ver=11&ver=10"),
        "neighbour leaves": near("GET", f"{V1}/make_leave/{room}/{bert}"),
        "neighbour's look at a profile": near("GET", f"{V1}/query/profile?user_id={alice}"),
        "neighbour's look at devices": near("GET", f"{V1}/user/devices/{alice}"),
        "neighbour's look at keys": near("POST", f"{V1}/user/keys/query", {"device_keys": {home.alice.user: []}}),
        "neighbour's look at a name": near("GET", f"{V1}/query/directory?room_alias=%23hall%3A{NAME}"),
    }


async def quiet() -> None:
    """Return when whatever can go on without flash has gone on."""
    for _ in range(3):
        await wait_all_tasks_blocked(0.02)


def remember_callers(patch: pytest.MonkeyPatch) -> None:
    """Let whoever was let in once be let in without a look into the ledger: what is behind the bell is tested too."""
    real, real_keys = Sessions.authenticate, ServerKeys.keys_for
    people: dict[str, Any] = {}
    servers: dict[tuple[object, ServerName], Any] = {}

    async def authenticate(self: Sessions, token: str) -> Any:
        if token not in people:
            people[token] = await real(self, token)
        return people[token]

    async def keys_for(self: ServerKeys, server: ServerName, *rest: Any) -> Any:
        if (self, server) not in servers:
            servers[self, server] = await real_keys(self, server, *rest)
        return servers[self, server]

    patch.setattr(Sessions, "authenticate", authenticate)
    patch.setattr(ServerKeys, "keys_for", keys_for)


def do_not_wait(ledger: Ledger, patch: pytest.MonkeyPatch) -> None:
    """Make a ledger that acknowledges what is not on flash: the mistake these tests are there to find."""
    committer = ledger._committer
    add = committer.add

    async def at_once(_position: int) -> None:
        await trio.lowlevel.checkpoint()

    def add_and_ring(change: PendingChange) -> None:
        add(change)
        ledger.ring(*change.topics)

    patch.setattr(committer, "wait_durable", at_once)
    patch.setattr(committer, "add", add_and_ring)


async def play_held(home: Home, nursery: trio.Nursery, poll_ms: int = 30_000) -> set[str]:
    """Hold the journal, ask for everything, return the names of what was asked; their answers are in `home`."""
    since = (await home.ann.good("GET", "/sync?timeout=0"))["next_batch"]
    # Whoever asks was here before: what is remembered of them is remembered now.
    assert (await home.as_neighbour("GET", f"{V1}/event/{quote(home.known, safe='')}")).status == 200
    await home.alice.good("GET", "/account/whoami")
    pdu = await home.neighbours_event(LOST)
    nursery.start_soon(home.note, "long poll", home.ann.ask("GET", f"/sync?timeout={poll_ms}&since={since}"))
    await quiet()
    home.answers.clear()
    home.heard.clear()
    home.files.hold()
    asked = {"long poll"}
    for group in (writes(home, pdu), reads(home, since)):
        for name, question in group.items():
            nursery.start_soon(home.note, name, question)
        asked |= set(group)
        await quiet()
    assert home.files.waiting.is_set()
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("failures", [0, 1])
async def test_what_is_not_on_flash_is_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, *, remembered: bool
) -> None:
    if remembered:
        remember_callers(monkeypatch)
    async with open_home(tmp_path) as home, trio.open_nursery() as nursery:
        asked = await play_held(home, nursery)
        assert home.answers == {}
        assert home.heard == []
        home.files.failures = failures
        home.files.release()
        while len(home.answers) < len(asked):
            await quiet()
        refused = {name: answer for name, answer in home.answers.items() if answer[0] != 200}
        assert refused == {}
        await home.bob.wait_for(home.room, LOST)
        assert {"text": LOST} in [unit["content"] for unit in await home.bob.inbox_of(home.bob.user("bert"))]
        assert home.answers["send"] == home.answers["send again"]
        assert LOST in home.answers["long poll"][1].decode()


@pytest.mark.slow
async def test_a_ledger_that_does_not_wait_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_home(tmp_path) as home, trio.open_nursery() as nursery:
        do_not_wait(home.house.ledger, monkeypatch)
        asked = await play_held(home, nursery)
        assert set(home.answers) == asked
        assert any(LOST.encode() in body for _, body in home.heard)
        home.files.release()


@pytest.mark.slow
@pytest.mark.parametrize("remembered", [False, True])
async def test_of_a_batch_that_flash_refused_nobody_ever_sees_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, remembered: bool
) -> None:
    if remembered:
        remember_callers(monkeypatch)
    async with open_home(tmp_path) as home, trio.open_nursery() as nursery:
        asked = await play_held(home, nursery, poll_ms=700)
        assert home.answers == {}
        home.files.failures = 1_000_000
        home.files.release()
        while len(home.answers) < len(asked):
            await quiet()
        status, body = home.answers.pop("long poll")
        assert status in (200, 503)
        assert LOST not in body.decode()
        assert {status for status, _ in home.answers.values()} == {503}
        assert {json.loads(body)["errcode"] for _, body in home.answers.values()} == {"M_UNKNOWN"}
        # Long after: every app would be noted as seen again.
        monkeypatch.setattr("relay.household.sessions.LAST_SEEN_RESOLUTION_MS", -1)
        await _read_on(home)
        health = HouseReport(home.house, {})
        assert (await health.status())["ledger"]["healthy"] is False
        assert (await health.findings())[0].level == "fault"
        assert not any(LOST.encode() in body for _, body in home.heard)


async def _read_on(home: Home) -> None:
    """Read everything once more, and try to write: flash refuses what is new and shows all that is old."""
    pdu = await home.neighbours_event(LOST)
    since = (await home.ann.good("GET", "/sync?timeout=0"))["next_batch"]
    questions = reads(home, since)
    home.answers.clear()
    for name, question in questions.items():
        await home.note(name, question)
    answers = {name: (status, body.decode()) for name, (status, body) in home.answers.items()}
    missing = {name for name, (status, _) in answers.items() if status == 404}
    assert missing == {"topic", "account data"}
    assert {name for name, (status, _) in answers.items() if status != 200} == missing
    assert [name for name, (_, body) in answers.items() if LOST in body] == []
    assert "kept" in answers["messages"][1]
    for name, question in writes(home, pdu).items():
        await home.note(name, question)
        assert home.answers[name][0] == 503, name


@pytest.mark.slow
async def test_after_a_restart_on_good_flash_the_house_takes_in_again(tmp_path: Path) -> None:
    files = HeldFiles()
    async with open_home(tmp_path, files) as home:
        files.failures = 1_000_000
        path = f"/rooms/{home.shown}/send/m.room.message/x"
        assert (await home.alice.ask("PUT", path, {"msgtype": "m.text", "body": LOST})).status == 503
        room = home.room
    files.failures = 0
    flash = Flash(files=files, workers=HeldWorkers(), segment_bytes=SEGMENT_BYTES)
    async with open_house(tmp_path, CONFIG, flash) as house:
        network = await open_network(house, None, Places())
        alice = Person(family_door(house, network), "alice")
        path = f"/rooms/{quote(room, safe='')}"
        await alice.good("PUT", f"{path}/send/m.room.message/y", {"msgtype": "m.text", "body": "again"})
        bodies = [
            event["content"].get("body") for event in (await alice.good("GET", f"{path}/messages?dir=b"))["chunk"]
        ]
        assert bodies[0] == "again"
        assert "kept" in bodies
