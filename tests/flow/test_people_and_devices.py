"""People of one box and their devices, from the door to the sync: who is told what changed."""

from typing import Any

from relay.household import accounts
from tests.fakes.family import App, Family, at, open_family, two
from tests.unit.household.signing import Signer

PASSWORD = "correct horse battery"


async def _changed(app: App, since: str) -> tuple[set[str], str]:
    told = await app.sync(since)
    return set(told.get("device_lists", {}).get("changed", [])), told["next_batch"]


async def _publish(app: App) -> Signer:
    signer = Signer(app.user)
    await app.post("/keys/upload", {"device_keys": signer.device(app.device)})
    await app.post("/keys/device_signing/upload", {f"{usage}_key": key for usage, key in signer.keys().items()})
    return signer


async def test_who_shares_a_room_is_told_of_new_keys_and_nobody_else() -> None:
    async with open_family() as family:
        ann, bob, _ = await two(family)
        stranger = await family.app("cat")
        tokens = {app: (await app.sync())["next_batch"] for app in (ann, bob, stranger)}
        await _publish(bob)
        assert (await _changed(ann, tokens[ann]))[0] == {bob.user}
        assert (await _changed(bob, tokens[bob]))[0] == {bob.user}
        assert (await _changed(stranger, tokens[stranger]))[0] == set()
        now = (await ann.sync())["next_batch"]
        assert await ann.get(f"/keys/changes?from={tokens[ann]}&to={now}") == {"changed": [bob.user], "left": []}


async def test_verifying_somebody_is_told_to_the_own_devices_only() -> None:
    async with open_family() as family:
        ann, bob, _ = await two(family)
        tablet = await family.app("ann", "TABLET")
        anns, bobs = await _publish(ann), await _publish(bob)
        tokens = {app: (await app.sync())["next_batch"] for app in (tablet, bob)}
        body = {bob.user: {bobs.public("master"): anns.sign(bobs.key("master"), "user_signing")}}
        assert await ann.post("/keys/signatures/upload", body) == {"failures": {}}
        assert (await _changed(tablet, tokens[tablet]))[0] == {bob.user}
        assert (await _changed(bob, tokens[bob]))[0] == set()
        answer = await tablet.post("/keys/query", {"device_keys": {bob.user: []}})
        assert ann.user in answer["master_keys"][bob.user]["signatures"]
        answer = await bob.post("/keys/query", {"device_keys": {bob.user: []}})
        assert ann.user not in answer["master_keys"][bob.user].get("signatures", {})


async def test_a_new_name_is_shown_in_the_rooms() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await bob.put(f"/profile/{bob.user}/displayname", {"displayname": "Bobby"})
        member = await ann.get(at(room, f"/state/m.room.member/{bob.user}"))
        assert (member["displayname"], member["membership"]) == ("Bobby", "join")
        assert await ann.get(f"/profile/{bob.user}") == {"displayname": "Bobby"}


async def _with_password(family: Family, app: App, path: str, body: dict[str, Any]) -> Any:
    await family.ledger.run(accounts.set_password, app.user, await accounts.hash_password(PASSWORD))
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": app.user}, "password": PASSWORD}
    return await app.post(path, {**body, "auth": auth})


async def test_who_leaves_the_household_leaves_its_rooms_and_devices() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await _publish(bob)
        token = (await ann.sync())["next_batch"]
        await _with_password(family, bob, "/account/deactivate", {})
        assert (await ann.get(at(room, f"/state/m.room.member/{bob.user}")))["membership"] == "leave"
        assert list((await ann.get(at(room, "/joined_members")))["joined"]) == [ann.user]
        told = await ann.sync(token)
        assert told["device_lists"]["left"] == [bob.user]
        answer = await ann.post("/keys/query", {"device_keys": {bob.user: []}})
        assert (answer["device_keys"], answer["master_keys"]) == ({bob.user: {}}, {})


async def test_what_an_app_keeps_reaches_the_others_of_that_person() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        tablet = await family.app("ann", "TABLET")
        token = (await tablet.sync())["next_batch"]
        await ann.put(f"/user/{ann.user}/account_data/m.direct", {bob.user: [room]})
        await ann.put(f"/user/{ann.user}{at(room)}/tags/m.favourite", {"order": 0.5})
        told = await tablet.sync(token)
        assert told["account_data"]["events"] == [{"type": "m.direct", "content": {bob.user: [room]}}]
        in_room = told["rooms"]["join"][room]["account_data"]["events"]
        assert in_room == [{"type": "m.tag", "content": {"tags": {"m.favourite": {"order": 0.5}}}}]
