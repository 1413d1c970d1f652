"""Making events of our own: laid out, hashed, signed, named. Source: Server-Server API v1.19, "Signing Events"."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from relay.base.ids import EventId, RoomId, ServerName, UserId
from relay.core.matrix import canonical_json, unpadded_base64
from relay.core.matrix.events import MAX_DEPTH, Event, hashed_bytes, parse_made
from relay.core.matrix.redaction import redact
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.signing import SigningKey


def draft(
    version: RoomVersion,
    *,
    room_id: RoomId | None,
    sender: UserId,
    event_type: str,
    content: Mapping[str, Any],
    state_key: str | None = None,
    redacts: EventId | None = None,
    prev_events: Iterable[EventId],
    auth_events: Iterable[EventId],
    depth: int,
    origin_server_ts: int,
) -> dict[str, Any]:
    """Return an unsigned PDU, such as answers a `make_join`.

    Args:
        version: the rules of the room.
        room_id: the room; None for the create event of a room version whose room ids are hashes.
        sender: who sends it.
        event_type: what it is.
        content: its content; not copied, except where `redacts` must stand in it.
        state_key: of state events.
        redacts: what a redaction takes away; put where the room version wants it.
        prev_events: the room's forward extremities.
        auth_events: the ids of `authorization.auth_types` in the state before the event.
        depth: one more than the greatest depth of `prev_events`.
        origin_server_ts: the time of day in milliseconds.
    """
    raw: dict[str, Any] = {
        "auth_events": list(auth_events),
        "content": content,
        "depth": min(depth, MAX_DEPTH),
        "origin_server_ts": origin_server_ts,
        "prev_events": list(prev_events),
        "sender": sender,
        "type": event_type,
    }
    if room_id is not None:
        raw["room_id"] = room_id
    if state_key is not None:
        raw["state_key"] = state_key
    if redacts is not None and version.redacts_in_content:
        raw["content"] = {**content, "redacts": redacts}
    elif redacts is not None:
        raw["redacts"] = redacts
    return raw


def hash_and_sign(raw: Mapping[str, Any], version: RoomVersion, server: ServerName, key: SigningKey) -> Event:
    """Return the event of an unsigned PDU, hashed and signed by `server`; signatures of others are kept.

    Raises:
        InvalidInputError: its form or size is not that of an event of this room version.
    """
    made, hashed, signed = _sign(raw, version, server, key)
    made.pop("unsigned", None)
    return parse_made(made, version, hashed=hashed, signed=signed)


def sign_raw(raw: Mapping[str, Any], version: RoomVersion, server: ServerName, key: SigningKey) -> dict[str, Any]:
    """Return a copy of a PDU with its content hash and our signature; `unsigned` stays and is not covered.

    Raises:
        NotCanonicalError: it has no canonical form.
    """
    return _sign(raw, version, server, key)[0]


def _sign(
    raw: Mapping[str, Any], version: RoomVersion, server: ServerName, key: SigningKey
) -> tuple[dict[str, Any], bytes, bytes]:
    """Return the signed PDU, what its content hash covers and what its signature covers."""
    hashed = hashed_bytes(raw)
    made = {**raw, "hashes": {"sha256": unpadded_base64.encode(hashlib.sha256(hashed).digest())}}
    kept = redact(made, version)
    kept.pop("signatures", None)
    signed = canonical_json.encode_checked(kept)
    old = raw.get("signatures") or {}
    signature = unpadded_base64.encode(key.sign(signed))
    made["signatures"] = {**old, server: {**old.get(server, {}), key.key_id: signature}}
    return made, hashed, signed
