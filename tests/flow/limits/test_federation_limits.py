"""At each limit of what other servers ask, send and answer: just within it passes, just beyond is refused."""

from typing import Any, cast

import orjson
import pytest
import trio
from trio.testing import MockClock

from relay.base.config import DeliveryConfig, StoreConfig
from relay.base.errors import RelayError, UnauthenticatedError, UnreachableError
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId
from relay.base.limits import (
    FAILED_AUTHENTICATION_BURST,
    FAILED_AUTHENTICATION_PER_S,
    HOME_AGAIN_KNOCK_PAUSE_S,
    JOIN_TIMEOUT_S,
    KEY_MEMORY_S,
    KEY_VALID_S,
    MAX_AUTHORIZATION_HEADERS,
    MAX_BACKFILL_EVENTS,
    MAX_DIRECTORY_SERVERS,
    MAX_INTRODUCTIONS_PER_CHANGE,
    MAX_JSON_VALUES,
    MAX_KEY_QUERY_USERS,
    MAX_MISSING_EVENTS_ASKED,
    MAX_PEER_JSON_BYTES,
    MAX_PEER_KEYS_BYTES,
    MAX_PEER_ROOM_BYTES,
    MAX_PEER_ROOM_VALUES,
    MAX_TRANSACTION_BYTES,
    STRANGER_BURST,
    STRANGER_PER_S,
)
from relay.core.matrix.signing import generate
from relay.delivery import introductions
from relay.delivery.outbox import queue as outbox_queue
from relay.delivery.outbox.outboxes import Outboxes
from relay.federation.matrix.authentication import Signed, choose, sign
from relay.federation.matrix.client.client import FederationClient
from relay.federation.matrix.client.rooms import MatrixRoomPeers
from relay.federation.matrix.keys import OwnKeys
from relay.federation.matrix.origin_rate import OriginRate
from relay.rooms.matrix.storage import members
from relay.rooms.matrix.storage.members import MembershipChange
from relay.store.ledger import Change
from relay.transport.message import Response
from tests.fakes.clock import FakeClock
from tests.fakes.federated import ALL_TABLES
from tests.fakes.http import answer_json, make_request
from tests.fakes.ledger import memory_ledger
from tests.fakes.outlet import FakeOutlet, SleepingPeer
from tests.flow.test_federation import new_town, share_room
from tests.unit.federation.matrix.client.test_client import peer_and_client
from tests.unit.federation.matrix.test_door import EVENT, KEY, OMA, ROOM, V1, Stranger, stranger_at_the_door

BOX = ServerName("ada.example")


@pytest.mark.parametrize(("count", "fits"), [(MAX_AUTHORIZATION_HEADERS, True), (MAX_AUTHORIZATION_HEADERS + 1, False)])
def test_a_request_may_carry_so_many_signatures(count: int, fits: bool) -> None:
    headers = [sign(OMA, generate(bytes([n]) * 32, f"k{n}"), BOX, Signed("GET", "/")) for n in range(count)]
    if fits:
        assert len(choose(headers, BOX)) == count
    else:
        with pytest.raises(UnauthenticatedError, match="too many"):
            choose(headers, BOX)


@pytest.mark.parametrize(
    ("per_s", "burst"), [(FAILED_AUTHENTICATION_PER_S, FAILED_AUTHENTICATION_BURST), (STRANGER_PER_S, STRANGER_BURST)]
)
def test_strangers_and_forgers_get_their_next_try_at_their_rate(per_s: float, burst: int) -> None:
    clock = FakeClock(tick_ms=0)
    rate = OriginRate(per_s=per_s, burst=burst, clock=clock)
    for _ in range(burst):
        rate.take("x")
    clock.now_ms += 1000
    for _ in range(int(per_s)):
        rate.take("x")
    with pytest.raises(RelayError) as refusal:
        rate.take("x")
    assert refusal.value.retry_after_s == pytest.approx(1 / per_s)


async def test_a_stranger_gets_its_burst_and_then_waits_for_its_rate() -> None:
    async with stranger_at_the_door() as oma:
        for _ in range(STRANGER_BURST):
            assert (await oma.ask("PUT", f"{V1}/send/1", {})).status == 200
        statuses = [(await oma.ask("PUT", f"{V1}/send/1", {})).status for _ in range(5)]
        assert statuses.count(429) >= 5 - STRANGER_PER_S


async def test_a_peers_key_is_asked_for_again_after_its_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stranger_at_the_door() as oma:
        looked: list[str] = []
        keys_for = oma.box.keys.keys_for

        async def note(server: ServerName, *rest: Any) -> Any:
            looked.append(server)
            return await keys_for(server, *rest)

        monkeypatch.setattr(oma.box.keys, "keys_for", note)
        for pause_s, looks in ((0, 1), (KEY_MEMORY_S - 1, 1), (2, 2)):
            await trio.sleep(pause_s)
            assert (await oma.ask("PUT", f"{V1}/send/1", {})).status == 200
            assert len(looked) == looks


async def test_our_own_keys_are_good_for_a_day() -> None:
    clock = FakeClock(tick_ms=0)
    response = await OwnKeys(OMA, KEY, [], clock).answer(make_request("GET", "/_matrix/key/v2/server"))
    assert (await answer_json(response))["valid_until_ts"] == clock.now_ms + KEY_VALID_S * 1000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("query", lambda count: {"device_keys": {f"@u{n}:ada.example": [] for n in range(count)}}),
        ("claim", lambda count: {"one_time_keys": {"@u:ada.example": {f"D{n}": "a" for n in range(count)}}}),
    ],
)
async def test_so_many_people_and_keys_are_asked_about_at_once(path: str, body: Any) -> None:
    async with stranger_at_the_door() as oma:
        target = f"{V1}/user/keys/{path}"
        assert (await oma.ask("POST", target, body(MAX_KEY_QUERY_USERS))).status == 200
        assert await oma.errcode("POST", target, body(MAX_KEY_QUERY_USERS + 1)) == (413, "M_TOO_LARGE")


async def _asked(oma: Stranger, monkeypatch: pytest.MonkeyPatch, name: str, method: str, target: str, body: Any) -> Any:
    """Return what the rooms were asked for."""
    asked: list[Any] = []

    async def answering(*args: Any, **fields: Any) -> list[Any]:
        asked.append((args[3:], fields))
        return []

    monkeypatch.setattr("relay.rooms.matrix.exchange.answering.Answering." + name, answering)
    assert (await oma.ask(method, target, body)).status == 200
    return asked[0]


@pytest.mark.parametrize("asked", [MAX_BACKFILL_EVENTS, MAX_BACKFILL_EVENTS + 1])
async def test_a_page_of_the_past_has_so_many_events(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stranger_at_the_door() as oma:
        query = "&".join([f"limit={asked}", *(f"v={EVENT}" for _ in range(asked))])
        (starts, limit), _ = await _asked(oma, monkeypatch, "backfill", "GET", f"{V1}/backfill/{ROOM}?{query}", None)
        assert (len(starts), limit) == (MAX_BACKFILL_EVENTS, MAX_BACKFILL_EVENTS)


@pytest.mark.parametrize("asked", [MAX_MISSING_EVENTS_ASKED, MAX_MISSING_EVENTS_ASKED + 1])
async def test_a_gap_is_filled_by_so_many_events_at_once(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stranger_at_the_door() as oma:
        body = {"limit": asked, "earliest_events": [], "latest_events": [EVENT]}
        target = f"{V1}/get_missing_events/{ROOM}"
        _, fields = await _asked(oma, monkeypatch, "missing_events", "POST", target, body)
        assert fields["limit"] == MAX_MISSING_EVENTS_ASKED


def _answer_of(size: int) -> Response:
    head, tail = b'{"x":"', b'"}'
    return Response(200, [("Content-Type", "application/json")], head + b"x" * (size - len(head) - len(tail)) + tail)


@pytest.mark.parametrize("limit_bytes", [MAX_PEER_JSON_BYTES, MAX_PEER_KEYS_BYTES])
async def test_a_peers_answer_may_be_so_long(limit_bytes: int) -> None:
    async with peer_and_client() as (peer, client):
        peer.response = _answer_of(limit_bytes)
        ask = MatrixRoomPeers(client).server_keys if limit_bytes == MAX_PEER_KEYS_BYTES else _plain(client)
        await ask(OMA)
        peer.response = _answer_of(limit_bytes + 1)
        with pytest.raises(UnreachableError):
            await ask(OMA)


def _plain(client: FederationClient) -> Any:
    return lambda server: client.get(server, "/_matrix/x")


@pytest.mark.parametrize(("large", "most"), [(False, MAX_JSON_VALUES), (True, MAX_PEER_ROOM_VALUES)])
async def test_a_peers_answer_may_hold_so_many_values(large: bool, most: int) -> None:
    async with peer_and_client() as (peer, client):
        for extra, fits in ((-10, True), (10, False)):
            peer.response = Response(200, [], b'{"x":[' + b",".join([b"1"] * (most + extra)) + b"]}")
            limit_bytes = MAX_PEER_ROOM_BYTES if large else MAX_PEER_JSON_BYTES
            if fits:
                await client.get(OMA, "/_matrix/x", limit_bytes=limit_bytes)
            else:
                with pytest.raises(UnreachableError):
                    await client.get(OMA, "/_matrix/x", limit_bytes=limit_bytes)


class Recorder:
    """Keeps the options of every question; answers always the same."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.options: list[dict[str, Any]] = []

    async def get(self, *_args: Any, **options: Any) -> dict[str, Any]:
        self.options.append(options)
        return self.answer

    put = get


async def test_the_answer_to_a_join_may_take_its_time() -> None:
    answer: dict[str, Any] = {"pdu_ids": [], "auth_chain_ids": [], "pdus": [], "auth_chain": []}
    recorder = Recorder(answer)
    peers = MatrixRoomPeers(cast("FederationClient", recorder))
    room, event = RoomId("!r:oma.example"), EventId(EVENT)
    await peers.send_join(OMA, room, event, {})
    await peers.state_ids(OMA, room, event)
    await peers.state(OMA, room, event)
    assert [options["timeout_s"] for options in recorder.options] == [JOIN_TIMEOUT_S] * 3


async def test_an_alias_leads_to_so_many_servers() -> None:
    names = [f"s{number}.example" for number in range(MAX_DIRECTORY_SERVERS + 1)]
    peers = MatrixRoomPeers(cast("FederationClient", Recorder({"room_id": "!r:oma.example", "servers": names})))
    _, servers = await peers.query_directory(OMA, RoomAlias("#a:oma.example"))
    assert servers == names[:MAX_DIRECTORY_SERVERS]


@pytest.mark.parametrize(("excess", "count"), [(0, 3), (1, 2)])
async def test_a_transaction_holds_so_many_bytes_of_units(excess: int, count: int) -> None:
    frame = len(orjson.dumps({"x": ""}))
    first = MAX_TRANSACTION_BYTES // 2
    sizes = [first, MAX_TRANSACTION_BYTES - first - 100, 100 + excess]

    def fill(change: Change) -> None:
        for size in sizes:
            outbox_queue.enqueue(change, OMA, "m.x", {"x": "y" * (size - frame)})

    async with memory_ledger(*ALL_TABLES, config=StoreConfig(journal_segments=64)) as ledger:
        await ledger.run(fill)
        batch = await ledger.read(outbox_queue.next_batch, OMA, 0)
        assert (len(batch.edus), batch.more) == (count, count < 3)


async def test_a_newcomer_is_introduced_to_so_many_servers_in_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    introduced: list[int] = []
    monkeypatch.setattr(
        "relay.delivery.device_fan_out.introduce", lambda _change, _user, servers: introduced.append(len(servers))
    )
    everybody = {ServerName(f"s{n}.example") for n in range(2 * MAX_INTRODUCTIONS_PER_CHANGE + 1)}
    monkeypatch.setattr(members, "joined_servers", lambda _index, _room: everybody)
    async with memory_ledger(*ALL_TABLES) as ledger:
        made = MembershipChange(RoomId("!r:ada.example"), UserId("@alice:ada.example"), "join", "leave", 1)
        await introductions.Introductions(ledger, BOX)._follow(made)
    assert introduced == [MAX_INTRODUCTIONS_PER_CHANGE, MAX_INTRODUCTIONS_PER_CHANGE, 1]


async def test_a_knock_is_repeated_after_a_pause(autojump_clock: MockClock) -> None:
    oma = SleepingPeer()
    answers = iter([429, 429, None])
    oma.refuse = lambda _pdus, _edus: next(answers)
    async with memory_ledger(*ALL_TABLES) as ledger:
        boxes = Outboxes(ledger, FakeOutlet(oma=oma), FakeClock(), BOX, DeliveryConfig())
        begun_s = trio.current_time()
        await boxes.knock(OMA, [{"edu_type": "m.x", "content": {}}])
        assert trio.current_time() - begun_s == pytest.approx(2 * HOME_AGAIN_KNOCK_PAUSE_S)


async def test_a_server_that_shares_a_room_is_no_stranger() -> None:
    async with new_town() as town, town.box("ada.example") as ada, town.box("bob.example") as bob:
        await share_room(ada, bob)
        for _ in range(STRANGER_BURST + 5):
            await bob.client.put(ada.name, f"{V1}/send/1", {})
