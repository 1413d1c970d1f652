from typing import Any

import pytest
from trio.testing import MockClock

from relay.base.errors import PeerRefusedError
from relay.base.ids import ServerName, UserId
from relay.household import cross_signing, device_keys
from relay.household.key_queries import KeyQueries, query_local
from relay.store.ledger import Ledger
from tests.fakes.people_peers import MemoryPeoplePeers
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE, TABLET
from tests.unit.household.signing import Signer
from tests.unit.household.test_remote_devices import CAROLS, FAR, listed

BOX = ServerName("box.test")
DAVE = UserId("@dave:down.test")
ALICES = Signer(ALICE)


class House:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.peers = MemoryPeoplePeers()
        self.sharing = {CAROL}
        self.since = 0
        self.queries = KeyQueries(
            ledger, self.peers, BOX, lambda _index, user: self.since if user in self.sharing else None
        )
        self.peers.devices[CAROL] = listed(PHONE)
        self.peers.down.add("down.test")

    async def query(self, *users: UserId, asking: UserId = ALICE) -> dict[str, Any]:
        return await self.queries.query(asking, {user: [] for user in users}, 10)


@pytest.fixture
async def house(home: Ledger) -> House:
    await home.run(device_keys.upload, ALICE, PHONE, ALICES.device(PHONE), {}, {})
    await home.run(cross_signing.upload_keys, ALICE, ALICES.keys())
    return House(home)


async def test_people_of_the_box_are_answered_from_the_ledger(house: House) -> None:
    answer = await house.query(ALICE, BOB)
    shown = {**ALICES.device(PHONE), "unsigned": {"device_display_name": "the phone"}}
    assert answer["device_keys"] == {ALICE: {PHONE: shown}, BOB: {}}
    assert answer["user_signing_keys"] == {ALICE: ALICES.key("user_signing")}
    assert answer["failures"] == {}
    assert house.peers.calls == []


async def test_another_server_is_not_told_what_devices_are_called(house: House) -> None:
    answer = await house.ledger.read(query_local, {ALICE: []}, None)
    assert answer["device_keys"] == {ALICE: {PHONE: ALICES.device(PHONE)}}
    assert answer["user_signing_keys"] == {}


async def test_somebody_we_share_a_room_with_is_asked_for_once(house: House) -> None:
    for _ in range(2):
        answer = await house.query(CAROL)
        assert set(answer["device_keys"][CAROL]) == {PHONE}
        assert answer["master_keys"] == {CAROL: CAROLS.key("master")}
    assert house.peers.calls == [f"user_devices {FAR}"]


async def test_somebody_we_hear_nothing_of_is_asked_for_each_time(house: House) -> None:
    house.sharing.clear()
    assert set((await house.query(CAROL))["device_keys"][CAROL]) == {PHONE}
    house.peers.devices[CAROL] = listed(TABLET)
    assert set((await house.query(CAROL))["device_keys"][CAROL]) == {TABLET}
    assert house.peers.calls == [f"query_keys {FAR}"] * 2


async def test_a_silent_server_is_a_failure_and_the_rest_is_answered(house: House) -> None:
    house.peers.refusing.add("no.test")
    answer = await house.query(ALICE, CAROL, DAVE, UserId("@eve:no.test"))
    assert set(answer["device_keys"]) == {ALICE, CAROL}
    assert set(answer["failures"]) == {"down.test", "no.test"}
    assert answer["failures"]["no.test"]["status"] == 403


async def test_a_hanging_server_costs_no_more_than_the_time_given(house: House, autojump_clock: MockClock) -> None:
    house.peers.hanging.add("hangs.test")
    answer = await house.query(CAROL, UserId("@frank:hangs.test"))
    assert set(answer["device_keys"]) == {CAROL}
    assert answer["failures"]["hangs.test"]["status"] == 504


async def test_who_was_away_for_a_while_is_asked_for_again(house: House) -> None:
    await house.query(CAROL)
    await house.ledger.run(device_keys.upload, ALICE, TABLET, None, {"c:a": {}}, {})
    house.since = house.ledger.position
    await house.query(CAROL)
    await house.query(CAROL)
    assert house.peers.calls == [f"user_devices {FAR}"] * 2


async def test_nobody_of_that_name_is_no_failure(house: House) -> None:
    nobody = UserId("@nobody:far.test")
    house.sharing.add(nobody)
    answer = await house.query(CAROL, nobody)
    assert set(answer["device_keys"]) == {CAROL}
    assert answer["failures"] == {}


async def test_a_list_that_is_refused_is_asked_for_in_the_plain_way(house: House) -> None:
    class Strict(MemoryPeoplePeers):
        async def user_devices(self, server: ServerName, user: UserId) -> dict[str, Any]:
            raise PeerRefusedError("you share no room", status=403, errcode="M_FORBIDDEN")

    strict = Strict()
    strict.devices = house.peers.devices
    queries = KeyQueries(house.ledger, strict, BOX, lambda _index, _user: 0)
    answer = await queries.query(ALICE, {CAROL: []}, 10)
    assert set(answer["device_keys"]) == {CAROL}
    assert answer["failures"] == {}


async def test_what_a_silent_server_said_last_is_still_told(house: House) -> None:
    await house.query(CAROL)
    house.sharing.clear()
    house.peers.down.add("far.test")
    answer = await house.query(CAROL)
    assert set(answer["device_keys"]) == {CAROL}
    assert set(answer["failures"]) == {"far.test"}


async def test_keys_are_claimed_here_and_elsewhere(house: House) -> None:
    curve = "signed_curve25519"
    await house.ledger.run(device_keys.upload, ALICE, PHONE, None, {f"{curve}:A": {"key": "a"}}, {})
    house.peers.one_time_keys[CAROL] = {PHONE: [{f"{curve}:C": {"key": "c"}}]}
    wanted = {ALICE: {PHONE: curve}, CAROL: {PHONE: curve}, DAVE: {PHONE: curve}}
    answer = await house.queries.claim(wanted, 10)
    assert answer["one_time_keys"] == {
        ALICE: {PHONE: {f"{curve}:A": {"key": "a"}}},
        CAROL: {PHONE: {f"{curve}:C": {"key": "c"}}},
    }
    assert set(answer["failures"]) == {"down.test"}
    assert (await house.queries.claim(wanted, 10))["one_time_keys"] == {}


async def test_a_server_gives_keys_of_its_own_people_only(house: House) -> None:
    class Liar(MemoryPeoplePeers):
        async def claim_keys(self, server: ServerName, one_time_keys: dict[str, dict[str, str]]) -> dict[str, Any]:
            return {"one_time_keys": {ALICE: {PHONE: {"x:1": {}}}, CAROL: {PHONE: {"x:1": {}}, TABLET: {"x:2": {}}}}}

    queries = KeyQueries(house.ledger, Liar(), BOX, lambda _index, _user: 0)
    answer = await queries.claim({CAROL: {PHONE: "x"}}, 10)
    assert answer["one_time_keys"] == {CAROL: {PHONE: {"x:1": {}}}}
