"""Other servers' signing keys, fetched when needed and kept.

Sources: Matrix S2S v1.19, "Publishing Keys"; room version 5, "Signing key validity period".
"""

from collections.abc import Iterable, Mapping
from typing import Any

import trio
from nacl.signing import VerifyKey

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, RelayError, UnauthenticatedError
from relay.base.ids import KeyId, ServerName
from relay.base.limits import MAX_PUBLISHED_KEYS, MAX_SILENT_SERVERS, SERVER_KEYS_RETRY_S
from relay.core.matrix.signing import SigningKey, parse_verify_key, verify_json
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.tables import PUT_SERVER_KEY
from relay.store.ledger import Change, Index, Ledger

_WEEK_MS = 7 * 24 * 3600 * 1000
_FOREVER_MS = 1 << 62


class ServerKeys:
    """The one place that knows which key vouches for whom."""

    def __init__(self, ledger: Ledger, peers: RoomPeers, clock: Clock, server: ServerName) -> None:
        self._ledger = ledger
        self._peers = peers
        self._clock = clock
        self._server = server
        self._failed_s: dict[ServerName, float] = {}
        self._fetching: dict[ServerName, trio.Event] = {}
        self._read: dict[ServerName, dict[KeyId, tuple[VerifyKey, int]]] = {}

    async def keys_for(
        self, server: ServerName, key_ids: Iterable[KeyId], valid_at_ms: int
    ) -> Mapping[KeyId, VerifyKey]:
        """Return those of `key_ids` that may vouch for something made at `valid_at_ms`; fetched if they are not here.

        A server that does not answer is not asked again for a while; then the keys are simply not found.
        """
        held = await self.lives(server, dict.fromkeys(key_ids, valid_at_ms))
        return {key_id: key for key_id, (key, until_ms) in held.items() if until_ms >= valid_at_ms}

    async def lives(self, server: ServerName, needed: Mapping[KeyId, int]) -> dict[KeyId, tuple[VerifyKey, int]]:
        """Return key id -> (key, valid until in ms) for those of `needed` (key id -> needed at, in ms) that are known.

        For many events at once: one look-up for all of a server's.
        """
        if server == self._server:
            return await self._ledger.read(_own_keys, sorted(needed))
        held = await self._look_up(server, needed)
        if any(key_id not in held or held[key_id][1] < at_ms for key_id, at_ms in needed.items()):
            await self._fetch_once(server)
            held = await self._look_up(server, needed)
            if any(key_id not in held or held[key_id][1] < at_ms for key_id, at_ms in needed.items()):
                # Asking again at once gives no other answer; who sends events from the future waits.
                self._put_off(server)
        return held

    async def _look_up(self, server: ServerName, needed: Mapping[KeyId, int]) -> dict[KeyId, tuple[VerifyKey, int]]:
        known = self._read.get(server)
        if known is None:
            if len(self._read) >= MAX_SILENT_SERVERS:
                self._read.clear()
            known = self._read[server] = {}
        if not needed.keys() <= known.keys():
            # Into what was remembered when it was asked for: whatever is fetched meanwhile makes that void.
            known.update(await self._ledger.read(_held, server, sorted(needed)))
        return {key_id: known[key_id] for key_id in needed if key_id in known}

    async def _fetch_once(self, server: ServerName) -> None:
        under_way = self._fetching.get(server)
        if under_way is not None:
            await under_way.wait()
            return
        if trio.current_time() < self._failed_s.get(server, -1.0):
            return
        self._fetching[server] = trio.Event()
        try:
            await self._fetch(server)
            self._failed_s.pop(server, None)
        except RelayError:
            self._put_off(server)
        finally:
            self._fetching.pop(server).set()

    def _put_off(self, server: ServerName) -> None:
        if len(self._failed_s) >= MAX_SILENT_SERVERS:
            self._failed_s.clear()
        self._failed_s[server] = trio.current_time() + SERVER_KEYS_RETRY_S

    async def _fetch(self, server: ServerName) -> None:
        now_ms = self._clock.wall_ms()
        found = read_key_object(await self._peers.server_keys(server), server)
        await self._ledger.run(_store, server, found, now_ms)
        self._read.pop(server, None)


def read_key_object(published: Mapping[str, Any], server: ServerName) -> dict[KeyId, tuple[bytes, int, bool]]:
    """Return key id -> (public key, valid until in ms, expired) of a `key/v2/server` answer.

    Raises:
        InvalidInputError: it is malformed, or another server's.
        SignatureError: the server did not sign it with a key that it publishes in it.
    """
    if published.get("server_name") != server:
        raise InvalidInputError("these keys are another server's")
    valid_until_ms = published.get("valid_until_ts")
    current, old = published.get("verify_keys"), published.get("old_verify_keys", {})
    if type(valid_until_ms) is not int or not isinstance(current, dict) or not isinstance(old, dict):
        raise InvalidInputError("malformed server keys")
    if len(current) + len(old) > MAX_PUBLISHED_KEYS:
        raise InvalidInputError(f"a server publishes at most {MAX_PUBLISHED_KEYS} keys")
    found: dict[KeyId, tuple[bytes, int, bool]] = {}
    for key_id, entry in old.items():
        expired_ms = entry.get("expired_ts") if isinstance(entry, dict) else None
        if type(expired_ms) is int and str(key_id).startswith("ed25519:"):
            found[KeyId(key_id)] = (bytes(parse_verify_key(entry.get("key"))), expired_ms, True)
    for key_id, entry in current.items():
        if isinstance(entry, dict) and str(key_id).startswith("ed25519:"):
            found[KeyId(key_id)] = (bytes(parse_verify_key(entry.get("key"))), valid_until_ms, False)
    verifying = {key_id: VerifyKey(key) for key_id, (key, _, expired) in found.items() if not expired}
    if not verifying:
        raise UnauthenticatedError("the server publishes no Ed25519 key")
    verify_json(published, server, verifying)
    return found


def _held(index: Index, server: ServerName, key_ids: list[KeyId]) -> dict[KeyId, tuple[VerifyKey, int]]:
    number = index.find(server)
    found: dict[KeyId, tuple[VerifyKey, int]] = {}
    for key_id in key_ids if number is not None else ():
        row = index.row(
            "SELECT public, valid_until_ms FROM server_keys WHERE server = ? AND key_id = ?", number, key_id
        )
        if row is not None:
            found[key_id] = (VerifyKey(row[0]), row[1])
    return found


def _own_keys(index: Index, key_ids: list[KeyId]) -> dict[KeyId, tuple[VerifyKey, int]]:
    rows = index.rows("SELECT key_id, seed, expired_ms FROM own_keys ORDER BY key_id")
    return {
        KeyId(key_id): (SigningKey(KeyId(key_id), seed).verify_key, _FOREVER_MS if expired_ms is None else expired_ms)
        for key_id, seed, expired_ms in rows
        if key_id in key_ids
    }


def _store(change: Change, server: ServerName, found: dict[KeyId, tuple[bytes, int, bool]], now_ms: int) -> None:
    number = change.intern(server)
    for key_id, (public, valid_until_ms, expired) in found.items():
        # Nobody's key is believed for more than a week after it was fetched; then it is fetched again.
        until_ms = valid_until_ms if expired else min(valid_until_ms, now_ms + _WEEK_MS)
        change.write(PUT_SERVER_KEY, number, key_id, public, until_ms, int(expired))
