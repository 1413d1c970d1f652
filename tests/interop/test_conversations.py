"""Family and stranger talk through a real Synapse, with real clients: every room version, every usual gesture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api, ApiError, Client, js_client, nio_client, quote
from tests.interop.peer_environments import js_node_modules, nio_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import sync_until, wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def box(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoxProcess]:
    with BoxProcess(tmp_path_factory.mktemp("box"), authority) as box:
        yield box


class Pair:
    """Anna at home on matrix-js-sdk, Berta on the Synapse with matrix-nio."""

    def __init__(self, box: BoxProcess, synapse: SynapsePeer, anna: Client, berta: Client, folder: Path) -> None:
        name = f"berta-{folder.name}".lower().replace("_", "-")
        self.berta_id, self.anna_id = f"@{name}:{synapse.name}", f"@anna:{box.name}"
        self.berta_api = synapse.register(name, "berta's password")
        store = folder / "nio"
        store.mkdir()
        self.anna, self.berta = anna, berta
        session = anna.call("login", base=box.base, user="anna", password=PASSWORD)
        self.anna_api = Api(box.base, session["token"])
        berta.call("login", base=synapse.base, user=self.berta_id, password="berta's password", store=str(store))

    def room_made_at_home(self, *, version: str | None = None, encrypted: bool = True) -> str:
        room: str = self.anna.call("create_room", encrypted=encrypted, invite=[self.berta_id], version=version)
        self.berta.call("wait_for_invite", room=room)
        self.berta.call("join", room=room)
        self.anna.call("wait_for_member", room=room, user=self.berta_id)
        self.berta.call("wait_for_room", room=room)
        return room

    def room_made_on_synapse(self, *, version: str | None = None, encrypted: bool = True) -> str:
        room: str = self.berta.call("create_room", encrypted=encrypted, invite=[self.anna_id], version=version)
        self.anna.call("wait_for_room", room=room, membership="invite")
        self.anna.call("join", room=room)
        self.anna.call("wait_for_room", room=room)
        self.berta.call("wait_for_member", room=room, user=self.anna_id)
        return room


@pytest.fixture
def pair(box: BoxProcess, synapse: SynapsePeer, tmp_path: Path) -> Iterator[Pair]:
    with js_client(js_node_modules()) as anna, nio_client(nio_python()) as berta:
        yield Pair(box, synapse, anna, berta, tmp_path)


def text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


@pytest.mark.parametrize("version", ["10", "11", "12"])
@pytest.mark.parametrize("home", [True, False], ids=["made at home", "made on synapse"])
def test_encrypted_messages_are_read_on_both_sides(pair: Pair, version: str, home: bool) -> None:
    make = pair.room_made_at_home if home else pair.room_made_on_synapse
    room = make(version=version)
    pair.anna.call("send", room=room, content=text("hello Berta"))
    assert pair.berta.call("wait_for", body="hello Berta")["encrypted"]
    pair.berta.call("send", room=room, content=text("hello Anna"))
    assert pair.anna.call("wait_for", room=room, body="hello Anna")["encrypted"]


@pytest.mark.parametrize("home", [True, False], ids=["made at home", "made on synapse"])
def test_reactions_edits_redactions_and_files_cross(pair: Pair, home: bool) -> None:
    make = pair.room_made_at_home if home else pair.room_made_on_synapse
    room = make(encrypted=False)
    first = pair.anna.call("send", room=room, content=text("plain from home"))
    pair.berta.call("wait_for", body="plain from home")
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👍"}}
    pair.berta.call("send", room=room, kind="m.reaction", content=reaction)
    assert pair.anna.call("wait_for_type", room=room, kind="m.reaction")["content"] == reaction
    second = pair.berta.call("send", room=room, content=text("tpyo"))
    pair.anna.call("wait_for", room=room, body="tpyo")
    edit = {
        **text("* typo"),
        "m.new_content": text("typo"),
        "m.relates_to": {"rel_type": "m.replace", "event_id": second},
    }
    pair.berta.call("send", room=room, content=edit)
    # A client that understands edits shows the new content in place of the old event's.
    sync_until(
        pair.anna_api,
        lambda _: any(e["content"].get("body") == "* typo" for e in pair.anna_api.messages(room)),
    )
    pair.anna_api.call("PUT", f"v3/rooms/{quote(room)}/redact/{quote(first)}/r1", {"reason": "too plain"})
    sync_until(
        pair.berta_api,
        lambda _: any(e["event_id"] == first and not e["content"] for e in pair.berta_api.messages(room)),
    )
    pair.anna.call("send_file", room=room, text="a note from home")
    event = pair.berta.call("wait_for", body="note.txt")
    assert pair.berta.call("read_file", content=event["content"]) == "a note from home"
    pair.berta.call("send_file", room=room, text="a note from away", encrypted=False)
    contents = sync_until(
        pair.anna_api,
        lambda _: [
            e["content"]
            for e in pair.anna_api.messages(room)
            if e["sender"] == pair.berta_id and e["content"].get("body") == "note.txt"
        ],
    )
    assert pair.anna.call("read_file", content=contents[0]) == "a note from away"


def test_leave_rejoin_kick_and_ban_are_seen_on_both_sides(pair: Pair) -> None:
    room = pair.room_made_at_home(encrypted=False)
    path = f"v3/rooms/{quote(room)}"

    pair.berta_api.call("POST", f"{path}/leave", {})
    sync_until(pair.anna_api, lambda _: state_of(pair.anna_api, room, pair.berta_id) == "leave")
    pair.anna_api.send(room, "while she was out", "out-1")
    pair.anna_api.call("POST", f"{path}/invite", {"user_id": pair.berta_id})
    wait_for_invite(pair.berta_api, room)
    pair.berta_api.call("POST", f"v3/join/{quote(room)}?via={quote(pair.anna_id.partition(':')[2])}", {})
    for server in (pair.anna_api, pair.berta_api):
        wait_for_membership(server, room, pair.berta_id, "join")
    pair.anna_api.send(room, "welcome back", "back-1")
    wait_for_body(pair.berta_api, room, "welcome back")
    pair.anna_api.call("POST", f"{path}/kick", {"user_id": pair.berta_id, "reason": "out"})
    sync_until(
        pair.berta_api, lambda answer: room in answer["rooms"].get("leave", {}) or state_is_gone(pair.berta_api, room)
    )
    pair.anna_api.call("POST", f"{path}/ban", {"user_id": pair.berta_id})
    with pytest.raises(ApiError) as refused:
        pair.berta_api.call("POST", f"v3/join/{quote(room)}?via={quote(pair.anna_id.partition(':')[2])}", {})
    assert refused.value.status == 403
    pair.anna_api.call("POST", f"{path}/unban", {"user_id": pair.berta_id})
    assert state_of(pair.anna_api, room, pair.berta_id) == "leave"


def test_the_box_user_is_kicked_and_banned_from_a_synapse_room(pair: Pair) -> None:
    room = pair.room_made_on_synapse(encrypted=False)
    path = f"v3/rooms/{quote(room)}"
    pair.anna_api.call("POST", f"{path}/leave", {})
    sync_until(pair.berta_api, lambda _: state_of(pair.berta_api, room, pair.anna_id) == "leave")
    pair.berta_api.send(room, "while the box was out", "t1")
    pair.berta_api.call("POST", f"{path}/invite", {"user_id": pair.anna_id})
    wait_for_invite(pair.anna_api, room)
    pair.anna_api.call("POST", f"v3/join/{quote(room)}", {})
    pair.berta_api.send(room, "after the rejoin", "t2")
    wait_for_body(pair.anna_api, room, "after the rejoin")
    # A first sync does not speak of rooms that were left: the kick must come after it.
    since = pair.anna_api.call("GET", "v3/sync?timeout=0")["next_batch"]
    pair.berta_api.call("POST", f"{path}/kick", {"user_id": pair.anna_id})
    sync_until(pair.anna_api, lambda answer: room in answer["rooms"].get("leave", {}), since=since)
    pair.berta_api.call("POST", f"{path}/ban", {"user_id": pair.anna_id})
    with pytest.raises(ApiError):
        pair.anna_api.call("POST", f"v3/join/{quote(room)}?via={quote(pair.berta_id.partition(':')[2])}", {})


def test_two_devices_of_a_family_member_verify_each_other(pair: Pair, box: BoxProcess) -> None:
    assert pair.anna.call("bootstrap_cross_signing", password=PASSWORD)
    with js_client(js_node_modules()) as tablet:
        session = tablet.call("login", base=box.base, user="anna", password=PASSWORD)
        assert tablet.call("verify_own_other_device")
        assert tablet.call("device_is_cross_signed", device=session["device"])
        assert pair.anna.call("device_is_cross_signed", device=session["device"])


def test_a_key_backup_is_made(pair: Pair) -> None:
    pair.anna.call("bootstrap_cross_signing", password=PASSWORD)
    assert pair.anna.call("reset_key_backup")


def state_of(api: Api, room: str, user: str) -> str:
    """Return the membership of `user`, as `api`'s server tells it; empty where it does not tell."""
    try:
        answer = api.call("GET", f"v3/rooms/{quote(room)}/state/m.room.member/{quote(user)}")
    except ApiError:
        return ""
    return str(answer["membership"])


def wait_for_membership(api: Api, room: str, user: str, membership: str) -> None:
    """Return once `api`'s server gives `user` that membership."""
    sync_until(api, lambda _: state_of(api, room, user) == membership)


def state_is_gone(api: Api, room: str) -> bool:
    """Return whether the server no longer counts `room` among the joined ones."""
    return room not in api.call("GET", "v3/joined_rooms")["joined_rooms"]
