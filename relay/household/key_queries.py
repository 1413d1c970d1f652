"""Which keys have these people, and one key of each, please: ours from the ledger, others' from their servers.

Client-server API, `/keys/query` and `/keys/claim`; server-server API, "End-to-End Encryption".
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import trio

from relay.base.errors import InvalidInputError, PeerRefusedError, RelayError
from relay.base.ids import DeviceId, ServerName, UserId, server_of
from relay.base.limits import CONCURRENT_KEY_QUERIES, CONCURRENT_QUERIES_PER_SERVER
from relay.household import cross_signing, device_keys, devices, key_signatures, remote_devices
from relay.household.peers import PeoplePeers
from relay.household.stored_json import pack
from relay.store.ledger import Index, Ledger

T = TypeVar("T")

InTouch = Callable[[Index, UserId], int | None]
"""The change since which a user of another server has been in a room with somebody here without a break, None if they
are not: only in that time did we hear of their changes."""

Wanted = Mapping[UserId, list[DeviceId]]
_FIELDS = {"master": "master_keys", "self_signing": "self_signing_keys", "user_signing": "user_signing_keys"}


def query_local(index: Index, wanted: Wanted, asking: UserId | None) -> dict[str, Any]:
    """Return the answer about people of this box.

    `wanted` is user -> devices, an empty list for all; `asking` is who asks, None for another server, which is not
    told what devices are called.

    Returns:
        `device_keys`, `master_keys`, `self_signing_keys` and `user_signing_keys` as `/keys/query` has them.
    """
    answer: dict[str, Any] = {"device_keys": {}, **{name: {} for name in _FIELDS.values()}}
    for user, chosen in wanted.items():
        by_device = device_keys.keys_of(index, user, chosen)
        answer["device_keys"][user] = {
            device: _shown(index, user, device, keys, asking) for device, keys in by_device.items()
        }
        for usage, key in cross_signing.keys_of(index, user, asking).items():
            answer[_FIELDS[usage]][user] = key
    return answer


def _shown(index: Index, user: UserId, device: DeviceId, keys: dict[str, Any], asking: UserId | None) -> dict[str, Any]:
    shown = key_signatures.with_signatures(index, user, device, asking, keys)
    if asking is None or not devices.exists(index, user, device):
        return shown
    name = devices.get(index, user, device).display_name
    return {**shown, "unsigned": {} if name is None else {"device_display_name": name}}


def _not_current(index: Index, users: Iterable[UserId], in_touch: InTouch) -> tuple[list[UserId], list[UserId], int]:
    """Return who has to be asked about: those we will hear of, those we will not; and the last change before asking."""
    tracked: list[UserId] = []
    untracked: list[UserId] = []
    for user in users:
        since = in_touch(index, user)
        if since is None:
            untracked.append(user)
        elif not remote_devices.is_current(index, user, since):
            tracked.append(user)
    return tracked, untracked, index.position


def _can_be_told(answer: object) -> bool:
    # One server's odd number must not spoil the answer about everybody else.
    try:
        pack(answer)
    except InvalidInputError:
        return False
    return True


class KeyQueries:
    """Asks the ledger and other servers; a server that does not answer is named in `failures`, never an error."""

    def __init__(self, ledger: Ledger, peers: PeoplePeers, server: ServerName, in_touch: InTouch) -> None:
        self._ledger = ledger
        self._peers = peers
        self._server = server
        self._in_touch = in_touch
        self._limiter = trio.CapacityLimiter(CONCURRENT_KEY_QUERIES)

    async def query(self, asking: UserId, wanted: Wanted, timeout_s: float) -> dict[str, Any]:
        """Return the whole answer of `/keys/query` for `asking`."""
        ours, theirs = self._split(wanted)
        answer = await self._ledger.read(query_local, ours, asking)
        failures: dict[str, Any] = {}

        await self._each_server(theirs, timeout_s, failures, self._refresh)
        # Of a server that is silent now, what it said last is better than nothing.
        asked = {user: chosen for users in theirs.values() for user, chosen in users.items()}
        for name, by_user in (await self._ledger.read(remote_devices.query_cached, asked, asking)).items():
            answer[name].update(by_user)
        return {**answer, "failures": failures}

    async def claim(self, wanted: Mapping[UserId, Mapping[DeviceId, str]], timeout_s: float) -> dict[str, Any]:
        """Return the whole answer of `/keys/claim`: durable before anybody sees a key."""
        ours, theirs = self._split(wanted)
        claimed = await self._ledger.run(device_keys.claim_local, ours)
        given: dict[str, Any] = {str(user): keys for user, keys in claimed.items()}
        failures: dict[str, Any] = {}

        async def ask(server: ServerName, users: Mapping[UserId, Mapping[DeviceId, str]]) -> None:
            plain = {str(user): {str(device): name for device, name in of.items()} for user, of in users.items()}
            found = (await self._peers.claim_keys(server, plain)).get("one_time_keys")
            for user, by_device in (found if isinstance(found, dict) else {}).items():
                if user in users and isinstance(by_device, dict) and _can_be_told(by_device):
                    given[user] = {device: key for device, key in by_device.items() if device in users[user]}

        await self._each_server(theirs, timeout_s, failures, ask)
        return {"one_time_keys": given, "failures": failures}

    async def _refresh(self, server: ServerName, users: Wanted) -> None:
        """Ask `server` about those whose lists are not kept current here, and store its answers."""
        tracked, others, asked = await self._ledger.read(_not_current, tuple(users), self._in_touch)
        limiter = trio.CapacityLimiter(CONCURRENT_QUERIES_PER_SERVER)
        untracked = {str(user): list[str]() for user in others}
        failed: list[RelayError] = []

        async def fetch(user: UserId) -> None:
            async with limiter:
                try:
                    await self._fetch_list(server, user, asked)
                except PeerRefusedError:
                    # Perhaps its rooms say that we share none; the plain question may still be answered.
                    untracked[user] = []
                except RelayError as error:
                    failed.append(error)

        async with trio.open_nursery() as nursery:
            for user in tracked:
                nursery.start_soon(fetch, user)
        if failed:
            raise failed[0]
        if untracked:
            found = await self._peers.query_keys(server, untracked)
            for name in untracked:
                await self._ledger.run(remote_devices.store_answer, UserId(name), found)

    async def _fetch_list(self, server: ServerName, user: UserId, asked: int) -> None:
        try:
            found = await self._peers.user_devices(server, user)
        except PeerRefusedError as error:
            if error.status != 404:
                raise
            # Reached, and nobody of this name is there: no devices, and no failure either.
            found = {}
        await self._ledger.run(remote_devices.store_list, user, found, asked)

    def _split(self, wanted: Mapping[UserId, T]) -> tuple[dict[UserId, T], dict[ServerName, dict[UserId, T]]]:
        ours: dict[UserId, T] = {}
        theirs: dict[ServerName, dict[UserId, T]] = {}
        for user, what in wanted.items():
            server = server_of(user)
            if server == self._server:
                ours[user] = what
            else:
                theirs.setdefault(server, {})[user] = what
        return ours, theirs

    async def _each_server(
        self,
        theirs: Mapping[ServerName, T],
        timeout_s: float,
        failures: dict[str, Any],
        ask: Callable[[ServerName, T], Awaitable[None]],
    ) -> None:
        async def one(server: ServerName, part: T) -> None:
            failures[server] = {"status": 504, "message": "no answer in time"}
            try:
                async with self._limiter:
                    await ask(server, part)
            except PeerRefusedError as error:
                failures[server] = {"status": error.status or 502, "message": "the server refused"}
            except RelayError as error:
                failures[server] = {"status": 503, "message": f"the server cannot be asked: {error.code}"}
            else:
                del failures[server]

        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for server, part in theirs.items():
                    nursery.start_soon(one, server, part)
