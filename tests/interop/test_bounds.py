"""A box that is full turns a real Synapse away, which keeps everything and delivers it once there is room again."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import Api, ApiError, quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

SMALL = {
    "limits.index_mib": "16",
    **{f"limits.{name}_mib": "8" for name in ("inbox", "devices_inbox", "device_inbox")},
}
MESSAGES = 30


def _status(box: BoxProcess) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(box.relay("status", "--json"))
    return status


def _fill(api: Api) -> str:
    """Fill the index with a key backup until the box refuses; return the backup's version."""
    version = str(api.call("POST", "v3/room_keys/version", {"algorithm": "x", "auth_data": {}})["version"])
    key = {
        "first_message_index": 0,
        "forwarded_count": 0,
        "is_verified": False,
        "session_data": {"ciphertext": "x" * 15_000},
    }
    for number in range(20):
        sessions = {f"session {number} {at}": key for at in range(200)}
        try:
            api.call("PUT", f"v3/room_keys/keys?version={version}", {"rooms": {"!r:x": {"sessions": sessions}}})
        except ApiError as refusal:
            assert (refusal.status, refusal.errcode) == (429, "M_LIMIT_EXCEEDED")
            if "this box is full" in str(refusal):
                return version
            threading.Event().wait(1)  # the box says when it is welcome again; an app would wait as well
    raise AssertionError("the box never became full")


def test_a_synapse_that_a_full_box_refuses_delivers_everything_once_there_is_room(
    authority: trustme.CA, tmp_path: Path, synapse: SynapsePeer
) -> None:
    with BoxProcess(tmp_path / "box", authority, settings=SMALL) as box:
        anna, berta = box.login(), synapse.register("berta-full", "berta's password")
        room = anna.call("POST", "v3/createRoom", {"invite": [f"@berta-full:{synapse.name}"]})["room_id"]
        wait_for_invite(berta, room)
        berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
        said = berta.send(room, "before", "before")
        wait_for_body(anna, room, "before")
        version = _fill(anna)
        for number in range(MESSAGES):
            berta.send(room, f"message {number}", f"full-{number}")
        deadline = time.monotonic() + 30
        while (status := _status(box))["intake_refused"] < 2:
            assert time.monotonic() < deadline
        assert status["intake"] == "refused"
        with pytest.raises(RuntimeError, match="1 fault found"):
            box.relay("doctor")
        shown = [event["content"].get("body") for event in anna.messages(room)]
        assert "before" in shown
        assert "message 0" not in shown
        anna.call("PUT", f"v3/rooms/{quote(room)}/redact/{quote(said)}/r1", {})
        begun = time.monotonic()
        anna.call("DELETE", f"v3/room_keys/version/{version}")
        wait_for_body(anna, room, f"message {MESSAGES - 1}")
        bodies = [e["content"].get("body", "") for e in anna.messages(room) if e["type"] == "m.room.message"]
        assert [body for body in bodies if body.startswith("message")] == [f"message {n}" for n in range(MESSAGES)]
        assert time.monotonic() - begun < 20
        assert _status(box)["intake"] == "open"
