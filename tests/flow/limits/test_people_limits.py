"""At each limit of the household and of the family's door: just within it is served, just beyond is refused."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.base.errors import RateLimitedError
from relay.base.ids import DeviceId, ServerName, UserId
from relay.base.limits import (
    ARGON2_MEMORY_BYTES,
    ARGON2_PASSES,
    CONCURRENT_KEY_QUERIES,
    CONCURRENT_QUERIES_PER_SERVER,
    DEFAULT_KEY_QUERY_TIMEOUT_MS,
    EVENTS_PER_SYNC_STEP,
    KIB,
    MAX_BACKUP_BODY_BYTES,
    MAX_CLIENT_JSON_BODY_BYTES,
    MAX_ID_BYTES,
    MAX_INITIAL_EVENTS,
    MAX_INVITES_PER_REQUEST,
    MAX_KEY_QUERY_TIMEOUT_MS,
    MAX_SYNC_TO_DEVICE,
    MAX_WAITING_PASSWORDS,
    PASSWORD_RETRY_S,
    ROOMS_PER_SYNC_STEP,
)
from relay.delivery.sync import long_poll
from relay.household import accounts, to_device
from relay.household.key_queries import KeyQueries
from relay.store.ledger import Change
from tests.fakes.family import open_family, two
from tests.fakes.people_peers import MemoryPeoplePeers


class Counting(MemoryPeoplePeers):
    """Answers nobody before `go`; knows how many were asked at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()
        self.now = self.most = 0

    async def _reach(self, call: str, server: ServerName) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1
        await super()._reach(call, server)


@pytest.mark.parametrize(
    ("users", "tracked", "most"),
    [
        ([f"@u:s{number}.test" for number in range(CONCURRENT_KEY_QUERIES + 5)], False, CONCURRENT_KEY_QUERIES),
        ([f"@u{number}:s.test" for number in range(30)], True, CONCURRENT_QUERIES_PER_SERVER),
    ],
)
async def test_so_many_servers_and_so_many_people_of_one_are_asked_for_keys_at_once(
    users: list[str], tracked: bool, most: int
) -> None:
    async with open_family() as family, trio.open_nursery() as nursery:
        peers = Counting()
        queries = KeyQueries(family.ledger, peers, ServerName("box.test"), lambda _index, _user: 1 if tracked else None)
        wanted: dict[UserId, list[DeviceId]] = {UserId(user): [] for user in users}
        nursery.start_soon(queries.query, UserId("@ann:box.test"), wanted, 60)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert peers.most == most
        peers.go.set()


@pytest.mark.parametrize(
    ("asked", "waited_ms"),
    [
        ({}, DEFAULT_KEY_QUERY_TIMEOUT_MS),
        ({"timeout": MAX_KEY_QUERY_TIMEOUT_MS - 1}, MAX_KEY_QUERY_TIMEOUT_MS - 1),
        ({"timeout": MAX_KEY_QUERY_TIMEOUT_MS + 1}, MAX_KEY_QUERY_TIMEOUT_MS),
    ],
)
async def test_a_key_query_waits_as_long_as_asked_within_its_limit(
    asked: dict[str, int], waited_ms: int, autojump_clock: MockClock
) -> None:
    async with open_family() as family:
        assert isinstance(family.parts.people, MemoryPeoplePeers)
        family.parts.people.hanging.add("far.test")
        ann = await family.app("ann")
        begun_s = trio.current_time()
        answer = await ann.post("/keys/query", {"device_keys": {"@x:far.test": []}, **asked})
        assert answer["failures"]["far.test"]["status"] == 504
        assert round((trio.current_time() - begun_s) * 1000) == waited_ms


async def test_so_many_passwords_wait_and_the_next_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowd:
        tasks_waiting = MAX_WAITING_PASSWORDS - 1

    crowd = Crowd()
    monkeypatch.setattr(type(accounts._one_at_a_time), "statistics", lambda _self: crowd)
    accounts._refuse_a_crowd()
    crowd.tasks_waiting += 1
    with pytest.raises(RateLimitedError) as refusal:
        await accounts.verify_password(None, "x")
    assert refusal.value.retry_after_s == PASSWORD_RETRY_S


def test_a_password_is_hashed_with_the_memory_and_passes_that_it_says() -> None:
    hashed = accounts._hash("correct horse")
    assert hashed.startswith(f"$argon2id$v=19$m={ARGON2_MEMORY_BYTES // KIB},t={ARGON2_PASSES},p=1$")


def _body_of(size: int, fields: bytes = b"") -> bytes:
    return b"{" + fields + b" " * (size - 2 - len(fields)) + b"}"


@pytest.mark.parametrize(
    ("method", "path", "limit_bytes"),
    [
        ("PUT", "/user/%40ann%3Abox.test/account_data/x", MAX_CLIENT_JSON_BODY_BYTES),
        ("PUT", "/room_keys/keys?version=1", MAX_BACKUP_BODY_BYTES),
    ],
)
async def test_a_body_may_be_so_long(method: str, path: str, limit_bytes: int) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.post("/room_keys/version", {"algorithm": "x", "auth_data": {}})
        fields = b'"rooms":{}'
        assert (await ann.ask(method, path, raw=_body_of(limit_bytes, fields))).status == 200
        refused = await ann.ask(method, path, raw=_body_of(limit_bytes + 1, fields))
        assert (refused.status, refused.parsed()["errcode"]) == (413, "M_TOO_LARGE")


async def test_a_room_begins_with_so_many_invites_and_events() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        people = [f"@p{number}:box.test" for number in range(MAX_INVITES_PER_REQUEST + 1)]
        for person in people[:-1]:
            await family.app(person[1:].partition(":")[0])
        await ann.create_room(invite=people[:-1])
        assert await ann.refused("POST", "/createRoom", {"invite": people}) == (400, "M_BAD_JSON")
        events = [{"type": "x", "state_key": str(number), "content": {}} for number in range(MAX_INITIAL_EVENTS + 1)]
        await ann.create_room(initial_state=events[:-1])
        assert await ann.refused("POST", "/createRoom", {"initial_state": events}) == (400, "M_BAD_JSON")


async def test_an_identifier_may_have_so_many_bytes() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        fits = "org." + "x" * (MAX_ID_BYTES - 4)
        await ann.put(f"/profile/%40ann%3Abox.test/{fits}", {fits: 1})
        assert (await ann.refused("PUT", f"/profile/%40ann%3Abox.test/{fits}x", {f"{fits}x": 1}))[0] == 400
        room = await ann.create_room()
        await ann.put(f"/rooms/{room}/state/{fits}", {})
        assert await ann.refused("PUT", f"/rooms/{room}/state/{fits}x", {}) == (413, "M_TOO_LARGE")


async def test_a_sync_brings_so_many_messages_between_devices_and_the_rest_next_time() -> None:
    async with open_family() as family:
        ann = await family.app("ann")

        def send(change: Change, number: int) -> None:
            to_device.enqueue(change, ann.user, ann.device, ann.user, "m.x", {"n": number})

        for number in range(MAX_SYNC_TO_DEVICE + 1):
            await family.ledger.run(send, number)
        first = await ann.sync()
        assert [message["content"]["n"] for message in first["to_device"]["events"]] == list(range(MAX_SYNC_TO_DEVICE))
        then = await ann.sync(first["next_batch"])
        assert [message["content"]["n"] for message in then["to_device"]["events"]] == [MAX_SYNC_TO_DEVICE]


@pytest.mark.parametrize(("limit", "rooms"), [(1, ROOMS_PER_SYNC_STEP), (EVENTS_PER_SYNC_STEP // 2, 2), (250, 1)])
async def test_one_step_of_a_sync_reads_so_many_rooms_and_events(
    limit: int, rooms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    go_on = long_poll.Sync._go_on

    def note(self: long_poll.Sync, index: Any, work: Any) -> None:
        before = len(work.todo)
        go_on(self, index, work)
        steps.append(before - len(work.todo))

    monkeypatch.setattr(long_poll.Sync, "_go_on", note)
    async with open_family() as family:
        ann, _, _ = await two(family)
        for _ in range(8):
            await ann.create_room()
        await ann.sync(filter=f'{{"room":{{"timeline":{{"limit":{limit}}}}}}}')
        assert max(steps) == rooms
