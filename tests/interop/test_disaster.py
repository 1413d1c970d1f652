"""The disaster drill: a backup through a pipe while the box runs, then the box gone with all its files, and back."""

import http.client
import json
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api, Client, nio_client, quote
from tests.interop.peer_environments import nio_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import sync_until, wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

BEFORE, SINCE, WHILE_AWAY = 150, 20, 20


def published_keys(box: BoxProcess) -> dict[str, Any]:
    """Return the keys other servers check the signatures of this box with."""
    context = ssl.create_default_context(cafile=str(box.folder / "ca.crt"))
    connection = http.client.HTTPSConnection("localhost", box.federation_port, timeout=10, context=context)
    connection.request("GET", "/_matrix/key/v2/server")
    keys: dict[str, Any] = json.loads(connection.getresponse().read())["verify_keys"]
    connection.close()
    return keys


def bodies(api: Api, room: str) -> list[str]:
    return [
        e["content"]["body"] for e in api.messages(room) if e["type"] == "m.room.message" and "body" in e["content"]
    ]


def back_up_through_a_pipe(box: BoxProcess, key: Path) -> bytes:
    line = [sys.executable, "-m", "relay", "backup", "create", "--state", str(box.state), "--key-file", str(key)]
    ended = subprocess.run(line, capture_output=True, timeout=60, check=True, env=box.environment())
    assert b"all of it" in ended.stderr
    return ended.stdout


def destroy(box: BoxProcess) -> None:
    """Take everything away that is the box: its state, its key, its certificate."""
    box.kill()
    shutil.rmtree(box.state)
    for name in ("root.key", "tls.crt", "tls.key"):
        (box.folder / name).unlink()


def claimed(berta: Api, user: str, device: str) -> str:
    """Return the name of a one-time key of `user`'s device that Berta's server was given."""
    wanted = {"one_time_keys": {user: {device: "signed_curve25519"}}}
    (name,) = berta.call("POST", "v3/keys/claim", wanted)["one_time_keys"][user][device]
    return str(name)


def encrypted_room(box: BoxProcess, synapse: SynapsePeer, anna: Client, berta: Client, folder: Path) -> tuple[str, str]:
    """Return a room of both, and the device Anna is logged in with."""
    devices = {}
    users = {"anna": (anna, box.base, f"@anna:{box.name}", PASSWORD)}
    users["berta"] = (berta, synapse.base, f"@berta-drill:{synapse.name}", "berta's password")
    for name, (client, base, user, password) in users.items():
        (folder / name).mkdir()
        devices[name] = client.call("login", base=base, user=user, password=password, store=str(folder / name))[
            "device"
        ]
    room: str = anna.call("create_room", encrypted=True, invite=[users["berta"][2]])
    berta.call("wait_for_invite", room=room)
    berta.call("join", room=room)
    berta.call("wait_for_member", room=room, user=users["anna"][2])
    anna.call("wait_for_member", room=room, user=users["berta"][2])
    return room, devices["anna"]


def test_a_box_destroyed_and_restored_elsewhere_goes_on_as_if_nothing_had_been(
    box: BoxProcess, synapse: SynapsePeer, tmp_path: Path
) -> None:
    key, archive = tmp_path / "backup.key", tmp_path / "box.bak"
    key.write_bytes(bytes(range(32)))
    anna, berta = box.login(), synapse.register("berta-drill", "berta's password")
    room = anna.call("POST", "v3/createRoom", {"invite": [f"@berta-drill:{synapse.name}"]})["room_id"]
    wait_for_invite(berta, room)
    berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
    python = nio_python()
    with nio_client(python) as nio_anna, nio_client(python) as nio_berta:
        secret_room, phone = encrypted_room(box, synapse, nio_anna, nio_berta, tmp_path)
        nio_berta.call("send", room=secret_room, content={"msgtype": "m.text", "body": "sealed before"})
        nio_anna.call("wait_for", body="sealed before")
        keys = published_keys(box)

        begun, stop = threading.Event(), threading.Event()
        sent: list[str] = []

        def talk() -> None:
            while not stop.is_set() or len(sent) < BEFORE:
                sent.append(f"anna {len(sent)}")
                anna.send(room, sent[-1], sent[-1])
                if len(sent) % 5 == 0:
                    sent.append(f"berta {len(sent)}")
                    berta.send(room, sent[-1], sent[-1])
                if len(sent) > BEFORE // 2:
                    begun.set()

        talking = threading.Thread(target=talk)
        talking.start()
        begun.wait(30)
        archive.write_bytes(back_up_through_a_pipe(box, key))
        stop.set()
        talking.join()
        # What the backup does not hold, other servers do.
        for number in range(SINCE):
            sent.append(f"since {number}")
            (anna if number % 2 else berta).send(room, sent[-1], sent[-1])
        sync_until(berta, lambda _: set(sent) <= set(bodies(berta, room)))
        given = claimed(berta, f"@anna:{box.name}", phone)
        since = sync_until(anna, lambda answer: answer)["next_batch"]

        destroy(box)
        for number in range(WHILE_AWAY):
            sent.append(f"away {number}")
            berta.send(room, sent[-1], sent[-1])
        nio_berta.call("send", room=secret_room, content={"msgtype": "m.text", "body": "sealed while away"})
        box.state = tmp_path / "another card" / "state"
        said = box.relay("backup", "restore", archive, "--key-file", key, "--root-key-file", tmp_path / "new-root.key")
        assert "Never start the old box again" in said
        box.start()

        # Nobody logs in: the same tokens, the same place in the stream.
        assert published_keys(box) == keys
        assert anna.call("GET", "v3/account/whoami")["user_id"] == f"@anna:{box.name}"
        assert "next_batch" in anna.call("GET", f"v3/sync?since={since}&timeout=0")
        nio_anna.call("wait_for", body="sealed while away")
        wait_for_body(anna, room, f"away {WHILE_AWAY - 1}", within_s=30)
        sync_until(anna, lambda _: set(sent) <= set(bodies(anna, room)), within_s=30)
        held = bodies(anna, room)
        assert len(held) == len(set(held))
        assert set(held) == set(sent)

        # A one-time key that somebody had from the old box is not given out a second time.
        assert claimed(berta, f"@anna:{box.name}", phone) != given

        # And on, both ways, open and sealed.
        anna.send(room, "anna goes on", "on-1")
        wait_for_body(berta, room, "anna goes on")
        berta.send(room, "berta goes on", "on-2")
        wait_for_body(anna, room, "berta goes on")
        nio_anna.call("send", room=secret_room, content={"msgtype": "m.text", "body": "sealed after, from home"})
        assert nio_berta.call("wait_for", body="sealed after, from home")["encrypted"]
        nio_berta.call("send", room=secret_room, content={"msgtype": "m.text", "body": "sealed after, from away"})
        assert nio_anna.call("wait_for", body="sealed after, from away")["encrypted"]
