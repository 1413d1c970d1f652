"""A person moves from one real box to another with everything she has; her new app reads the old secrets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api, Client, js_client, nio_client, quote
from tests.interop.peer_environments import js_node_modules, nio_python
from tests.interop.waiting import sync_until

pytestmark = pytest.mark.interop


class Old:
    """Anna, on matrix-js-sdk, and Otto, on matrix-nio, at home on the old box."""

    def __init__(self, box: BoxProcess, anna: Client, otto: Client, store: Path) -> None:
        self.box, self.anna, self.otto = box, anna, otto
        session = anna.call("login", base=box.base, user="anna", password=PASSWORD)
        self.api = Api(box.base, session["token"])
        self.anna_id = f"@anna:{box.name}"
        self.otto_id = box.add_user("otto")
        otto.call("login", base=box.base, user=self.otto_id, password=PASSWORD, store=str(store))

    def private_room(self) -> str:
        room: str = self.anna.call("create_room", encrypted=True, invite=[self.otto_id], version=None)
        self.otto.call("wait_for_invite", room=room)
        self.otto.call("join", room=room)
        self.anna.call("wait_for_member", room=room, user=self.otto_id)
        self.otto.call("wait_for_room", room=room)
        return room

    def prepare(self, secret: str) -> str:
        """Set up what is to move; returns the public room."""
        me, api = quote(self.anna_id), self.api
        public = api.call("POST", "v3/createRoom", {"preset": "public_chat", "name": "Street"})["room_id"]
        uri = api.call("POST", "v3/createRoom", {"name": "unused"})["room_id"]
        api.call("POST", f"v3/rooms/{quote(uri)}/leave", {})
        api.call("PUT", f"v3/user/{me}/account_data/m.direct", {self.otto_id: [secret]})
        api.call("PUT", f"v3/user/{me}/rooms/{quote(secret)}/tags/m.favourite", {"order": 0.5})
        api.call("PUT", f"v3/profile/{me}/displayname", {"displayname": "Anna from next door"})
        api.call("PUT", f"v3/pushrules/global/room/{quote(public)}", {"actions": []})
        return str(public)


def moved(box: BoxProcess, file: Path, key: Path, *more: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        box.relay("user", "import", file, "--as", "anne", "--key-file", key, "--json", *more)
    )
    return answer


def test_a_new_app_on_the_new_box_reads_old_and_new_secrets(authority: trustme.CA, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    file = tmp_path / "anna.sealed"
    store = tmp_path / "nio"
    store.mkdir()
    with (
        BoxProcess(tmp_path / "old", authority) as old_box,
        BoxProcess(tmp_path / "new", authority) as new_box,
        js_client(js_node_modules()) as anna,
        nio_client(nio_python()) as otto,
    ):
        old = Old(old_box, anna, otto, store)
        recovery_key = anna.call("set_up_recovery", password=PASSWORD)
        secret = old.private_room()
        public = old.prepare(secret)
        otto.call("send", room=secret, content={"msgtype": "m.text", "body": "an old secret"})
        anna.call("wait_for", room=secret, body="an old secret")
        wait_until_backed_up(old.api)

        old_box.relay("user", "export", "anna", "--to", file, "--key-file", key)
        first = moved(new_box, file, key, "--password-file", new_box.password_file)
        anne_id = f"@anne:{new_box.name}"
        assert (first["user"], first["former"], first["made"]) == (anne_id, old.anna_id, True)
        assert {room["room"]: room["outcome"] for room in first["rooms"]} == {public: "joined", secret: "invite"}

        old_box.relay("user", "export", "anna", "--to", file, "--key-file", key, "--invite", anne_id)
        second = moved(new_box, file, key)
        assert {room["room"]: room["outcome"] for room in second["rooms"]} == {public: "there", secret: "joined"}
        assert not any(second["counts"].get(kind) for kind in ("profile", "data", "rules", "backups", "backup_keys"))

        otto.call("wait_for_member", room=secret, user=anne_id)
        with js_client(js_node_modules()) as anne:
            anne.call("login", base=new_box.base, user="anne", password=PASSWORD)
            assert anne.call("account_data", kind="m.direct", room="") == {old.otto_id: [secret]}
            assert anne.call("account_data", kind="m.tag", room=secret)["tags"] == {"m.favourite": {"order": 0.5}}
            assert anne.call("recover", key=recovery_key)["imported"] >= 1
            assert anne.call("read_history", room=secret, body="an old secret")["encrypted"]
            otto.call("send", room=secret, content={"msgtype": "m.text", "body": "a new secret"})
            assert anne.call("wait_for", room=secret, body="a new secret")["sender"] == old.otto_id
            anne.call("send", room=secret, content={"msgtype": "m.text", "body": "I moved"})
            assert otto.call("wait_for", body="I moved")["sender"] == anne_id
            assert anne.call("set_up_recovery", password=PASSWORD)


def wait_until_backed_up(api: Api) -> None:
    sync_until(api, lambda _: api.call("GET", "v3/room_keys/version")["count"] >= 1)


def test_two_boxes_that_do_not_run_hand_an_account_over_through_a_pipe(authority: trustme.CA, tmp_path: Path) -> None:
    old_box, new_box = BoxProcess(tmp_path / "old", authority), BoxProcess(tmp_path / "new", authority)
    with old_box:
        anna = old_box.login()
        me = quote(f"@anna:{old_box.name}")
        anna.call("PUT", f"v3/profile/{me}/displayname", {"displayname": "Anna"})
        anna.call("POST", "v3/createRoom", {"preset": "public_chat", "name": "Street"})
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse battery staple")
    sealed = piped(old_box, b"", "user", "export", "anna", "--to", "-", "--passphrase-file", phrase)
    assert b"Anna" not in sealed.stdout
    assert b"1 rooms" in sealed.stderr
    moving_in = ("user", "import", "-", "--as", "anne", "--passphrase-file", phrase)
    damaged = bytearray(sealed.stdout)
    damaged[-20] ^= 1
    refused = piped(new_box, bytes(damaged), *moving_in, "--password-file", new_box.password_file)
    assert (refused.returncode, b"damaged in the piece that begins at byte" in refused.stderr) == (1, True)
    done = piped(new_box, sealed.stdout, *moving_in, "--password-file", new_box.password_file)
    assert b"not tried, the box is not running: Street" in done.stdout
    with old_box, new_box:
        done = piped(new_box, sealed.stdout, *moving_in)
        assert b"joined again: Street" in done.stdout
        anne = new_box.login("anne")
        assert anne.call("GET", f"v3/profile/{quote(f'@anne:{new_box.name}')}")["displayname"] == "Anna"
        assert len(anne.call("GET", "v3/joined_rooms")["joined_rooms"]) == 1


def piped(box: BoxProcess, content: bytes, *words: object) -> "subprocess.CompletedProcess[bytes]":
    line = [sys.executable, "-m", "relay", *map(str, words), "--state", str(box.state)]
    return subprocess.run(line, input=content, capture_output=True, timeout=60, check=False, env=box.environment())
