"""The first box dies under load and its files are gone: a second one goes on from what followed to a real engine."""

import contextlib
import json
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.delivery.standby.key_file import render_key
from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import Api, ApiError, quote
from tests.interop.standby_peers import Engine, Nats, Store
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import sync_until, wait_for_invite

pytestmark = pytest.mark.interop

LOAD_S = 4.0
PICTURE = bytes(range(256)) * 1500
# An S3-compatible store gets two objects a second, and one may be under way.
MAY_LACK_S = 1.0


@pytest.fixture(params=[Nats, Store], ids=["nats", "s3"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with request.param(tmp_path / "engine") as engine:
        yield engine


def make_box(folder: Path, authority: trustme.CA, engine: Engine, **settings: str) -> BoxProcess:
    named = {"standby.target": engine.target, "standby.credentials_file": str(engine.credentials)}
    return BoxProcess(folder, authority, settings={**named, **engine.settings, **settings})


def standing(box: BoxProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.relay("status", "--json"))["standby"]
    return found


def wait_until_followed(box: BoxProcess, within_s: float = 20, *, wholly: bool = False) -> dict[str, Any]:
    """Return the standby's state once the target holds a base, and everything but the last moment, or really all."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = standing(box)
        near = found["sent"] == found["newest"] if wholly else found["behind_s"] < 1
        if found["connected"] and found["base"] is not None and not found["media_missing"] and near:
            return found
        threading.Event().wait(0.05)  # nothing announces it: ask again soon
    raise TimeoutError(json.dumps(standing(box)))


def restore_arguments(engine: Engine, key: Path) -> list[str]:
    words = ["backup", "restore", engine.target, "--key-file", str(key), "--credentials-file", str(engine.credentials)]
    return [*words, *(f"--{name.partition('.')[2]}={value}" for name, value in engine.settings.items())]


class Load:
    """Somebody who sends, and notes when each message was acknowledged."""

    def __init__(self, api: Api, room: str, name: str) -> None:
        self._api = Api(api.base, api.token)
        self._room = room
        self._name = name
        self._stopped = threading.Event()
        self.acknowledged: dict[str, float] = {}
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        number = 0
        while not self._stopped.is_set():
            body = f"{self._name} {number}"
            with contextlib.suppress(ApiError, OSError):
                self._api.send(self._room, body, f"{self._name}-{number}")
                self.acknowledged[body] = time.monotonic()
                number += 1
            self._stopped.wait(0.02)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def upload(api: Api, content: bytes) -> str:
    request = urllib.request.Request(f"{api.base}/_matrix/media/v3/upload", content, method="POST")
    request.add_header("Authorization", f"Bearer {api.token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["content_uri"])


def download(api: Api, uri: str) -> bytes:
    request = urllib.request.Request(f"{api.base}/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}")
    request.add_header("Authorization", f"Bearer {api.token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def bodies(api: Api, room: str) -> list[str]:
    return [e["content"].get("body", "") for e in api.messages(room) if e["type"] == "m.room.message"]


def test_a_second_box_goes_on_where_the_first_one_died(
    tmp_path: Path, authority: trustme.CA, synapse: SynapsePeer, engine: Engine
) -> None:
    box = make_box(tmp_path / "box", authority, engine)
    key = tmp_path / "standby.key"
    with box:
        box.relay("standby", "key", "--to", key)
        anna, berta = box.login(), synapse.register(f"berta-{engine.port}", "berta's password")
        room = anna.call("POST", "v3/createRoom", {"invite": [f"@berta-{engine.port}:{synapse.name}"]})["room_id"]
        wait_for_invite(berta, room)
        berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
        picture = upload(anna, PICTURE)
        wait_until_followed(box)
        own, others = Load(anna, room, "own"), Load(berta, room, "other")
        threading.Event().wait(LOAD_S)
        box.kill()
        killed_s = time.monotonic()
    shutil.rmtree(box.state)
    own.stop()
    (box.folder / "root.key").unlink()

    wrong = tmp_path / "wrong.key"
    wrong.write_text(render_key(b"w" * 32))
    with pytest.raises(RuntimeError, match="another standby key"):
        box.relay(*restore_arguments(engine, wrong))
    assert not box.state.exists()
    said = box.relay(*restore_arguments(engine, key))
    print(said)
    assert f"This is {box.name} again, with everything up to commit " in said
    assert "Files that people sent: 1 are here, 0 are missing" in said
    with box:
        second = Api(box.base, anna.token)
        assert download(second, picture) == PICTURE
        held = bodies(second, room)
        due = [body for body, at_s in own.acknowledged.items() if at_s < killed_s - MAY_LACK_S]
        assert len(due) > 20
        assert [body for body in due if body not in held] == []
        lacking = [body for body in own.acknowledged if body not in held]
        print(f"acknowledged {len(own.acknowledged)}, not here {len(lacking)}")
        if "nothing it spoke of is missing" not in said:
            assert re.search(r"[1-9] commits? (is|are) missing", said)
        assert len(held) == len(set(held))
        second.send(room, "the second box speaks", "second-1")
        others.stop()
        sync_until(berta, lambda _: "the second box speaks" in bodies(berta, room), within_s=60)
        sync_until(second, lambda _: set(others.acknowledged) <= set(bodies(second, room)), within_s=60)


def test_a_target_that_is_away_holds_nothing_up_and_gets_everything_when_it_is_back(
    tmp_path: Path, authority: trustme.CA, engine: Engine
) -> None:
    engine.stop()
    box = make_box(tmp_path / "box", authority, engine)
    key = tmp_path / "standby.key"
    with box:
        anna = box.login()
        room = anna.call("POST", "v3/createRoom", {})["room_id"]
        anna.send(room, "nobody there", "away-0")
        found = standing(box)
        assert not found["connected"]
        assert found["fault"]
        assert found["newest"] > found["sent"]
        assert "the standby's target does not take anything" in box.relay("doctor")
        engine.start()
        wait_until_followed(box)
        anna.send(room, "there", "away-1")
        engine.kill()
        anna.send(room, "gone", "away-2")
        engine.start()
        wait_until_followed(box, within_s=30)
        box.relay("standby", "key", "--to", key)
        held = standing(box)
        box.stop()
        box.start()
        assert wait_until_followed(box)["base"] == held["base"]
    shutil.rmtree(box.state)
    box.relay(*restore_arguments(engine, key))
    with box:
        assert bodies(Api(box.base, anna.token), room) == ["nobody there", "there", "gone"]


def test_a_damaged_object_is_refused_unless_its_loss_is_accepted(tmp_path: Path, authority: trustme.CA) -> None:
    with Store(tmp_path / "engine") as engine:
        box = make_box(tmp_path / "box", authority, engine)
        key = tmp_path / "standby.key"
        with box:
            anna = box.login()
            room = anna.call("POST", "v3/createRoom", {})["room_id"]
            wait_until_followed(box, wholly=True)
            for number in range(3):
                anna.send(room, f"message {number}", f"m-{number}")
                wait_until_followed(box, wholly=True)
            box.relay("standby", "key", "--to", key)
            box.kill()
        shutil.rmtree(box.state)
        frames = sorted((engine.folder / "root").glob("family/boxes/*/frames/*/*"))
        content = bytearray(frames[-2].read_bytes())
        content[-1] ^= 1
        frames[-2].write_bytes(content)
        with pytest.raises(RuntimeError, match=r"after commit \d+, at the target: it is damaged"):
            box.relay(*restore_arguments(engine, key))
        assert not box.state.exists()
        said = box.relay(*restore_arguments(engine, key), "--accept-loss")
        assert "It ends there because of damage: frame entry" in said
        assert re.search(r"[1-9] commits? (is|are) missing", said)
        with box:
            held = bodies(Api(box.base, anna.token), room)
            assert held == [f"message {number}" for number in range(len(held))]
            assert len(held) < 3
