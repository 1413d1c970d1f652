"""Asks Synapse's own code about events: a program for Synapse's environment, never imported by ours.

It reads one JSON request a line and answers one JSON object a line. What Synapse refuses is `ok: false`; `crash` says
that it raised something other than a refusal, as it may on hostile content.
"""

import json
import sys
from collections.abc import Coroutine
from typing import Any

from canonicaljson import encode_canonical_json  # type: ignore[import-not-found]
from signedjson.key import decode_signing_key_base64, decode_verify_key_bytes  # type: ignore[import-not-found]
from signedjson.sign import verify_signed_json  # type: ignore[import-not-found]
from synapse.api.errors import SynapseError  # type: ignore[import-not-found]
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS  # type: ignore[import-not-found]
from synapse.crypto.event_signing import (  # type: ignore[import-not-found]
    add_hashes_and_signatures,
    check_event_content_hash,
)
from synapse.event_auth import (  # type: ignore[import-not-found]
    check_state_dependent_auth_rules,
    check_state_independent_auth_rules,
    validate_event_for_room_version,
)
from synapse.events import make_event_from_dict  # type: ignore[import-not-found]
from synapse.events.utils import prune_event  # type: ignore[import-not-found]
from synapse.federation.federation_base import event_from_pdu_json  # type: ignore[import-not-found]
from synapse.state.v2 import resolve_events_with_store  # type: ignore[import-not-found]
from synapse.storage.databases.main.event_federation import StateDifference  # type: ignore[import-not-found]
from unpaddedbase64 import decode_base64  # type: ignore[import-not-found]


class InstantClock:
    """A clock whose sleeps are over at once."""

    async def sleep(self, _duration: object) -> None:
        """Return."""


class EmptyStore:
    """A store without events: every event of a request is handed over as not yet stored."""

    async def get_events(self, _ids: object, **_options: object) -> dict[str, Any]:
        """Return nothing."""
        return {}

    async def get_auth_chain_difference(
        self, _room_id: str, _sets: object, conflicted: object, _more: object
    ) -> object:
        """Return that stored events differ in nothing."""
        return StateDifference(set(), None if conflicted is None else set())


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waited")


def judge_form(request: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    event = event_from_pdu_json(request["pdu"], version)
    validate_event_for_room_version(event)
    return {
        "event_id": event.event_id,
        "room_id": event.room_id,
        "hash_ok": check_event_content_hash(event),
        "redacted": prune_event(event).get_pdu_json(),
    }


def judge_state(request: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    state = [make_event_from_dict(pdu, version) for pdu in request["state"]]
    check_state_dependent_auth_rules(make_event_from_dict(request["pdu"], version), state)
    return {}


def judge_citations(request: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    cited = {}
    for pdu, rejected in request["cited"]:
        event = make_event_from_dict(pdu, version, rejected_reason="it was" if rejected else None)
        cited[event.event_id] = event
    event = make_event_from_dict(request["pdu"], version)
    finish(check_state_independent_auth_rules(EmptyStore(), event, cited))
    return {}


def resolve(request: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    events = {}
    for pdu, rejected in request["events"]:
        event = make_event_from_dict(pdu, version, rejected_reason="it was" if rejected else None)
        events[event.event_id] = event
    room_id = next(iter(events.values())).room_id
    states: list[list[Any] | None] = []
    for question in request["questions"]:
        sets = [{(kind, key): event_id for kind, key, event_id in state} for state in question]
        try:
            state = finish(
                resolve_events_with_store(InstantClock(), room_id, version, sets, dict(events), EmptyStore())
            )
            states.append(sorted([*key, event_id] for key, event_id in state.items()))
        except (TypeError, KeyError, AttributeError):
            # It stumbled over hostile content.
            states.append(None)
    return {"states": states}


def sign(request: dict[str, Any]) -> dict[str, Any]:
    """Hash and sign an event as Synapse does for its own."""
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    key = decode_signing_key_base64("ed25519", "syn", request["seed"])
    pdu = request["pdu"]
    add_hashes_and_signatures(version, pdu, request["server"], key)
    return {"pdu": pdu, "event_id": make_event_from_dict(pdu, version).event_id}


def verify(request: dict[str, Any]) -> dict[str, Any]:
    """Check the hash and a signature of an event that was made elsewhere."""
    version = KNOWN_ROOM_VERSIONS[request["version"]]
    event = event_from_pdu_json(request["pdu"], version)
    key = decode_verify_key_bytes(request["key_id"], decode_base64(request["key"]))
    verify_signed_json(prune_event(event).get_pdu_json(), request["server"], key)
    return {"hash_ok": check_event_content_hash(event)}


def canonical(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": encode_canonical_json(request["value"]).decode()}


ASKED = {"form": judge_form, "state": judge_state, "citations": judge_citations, "resolve": resolve}
ASKED |= {"sign": sign, "verify": verify, "canonical": canonical}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": True, **ASKED[request["ask"]](request)}
        except Exception as error:  # noqa: BLE001 - any way in which Synapse refuses is an answer
            answer = {"ok": False, "crash": not isinstance(error, SynapseError), "why": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
