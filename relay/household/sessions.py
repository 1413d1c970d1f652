"""Who is asking: sessions of devices, opened by a login and carried by tokens.

A refreshed pair replaces the old one at its first use, so that an answer lost on the way locks nobody out
(client-server API, "Refreshing access tokens").
"""

from dataclasses import dataclass

from relay.base.clock import Clock
from relay.base.errors import StorageError
from relay.base.ids import DeviceId, UserId
from relay.base.limits import LAST_SEEN_RESOLUTION_MS, MAX_KNOWN_TOKENS
from relay.household import accounts, devices, tokens
from relay.household.faults import DeactivatedError, UnknownTokenError
from relay.household.tokens import Tokens
from relay.store.ledger import Change, Index, Ledger


@dataclass(frozen=True, slots=True)
class Session:
    """One device of one person, as a token proves it.

    Attributes:
        token_number: the generation of the token, never used twice on this box.
        confirmed: False at the first use of a refreshed pair.
        stale: whether the device's last-seen time is worth writing again.
    """

    user: UserId
    device: DeviceId
    token_number: int = 0
    confirmed: bool = True
    stale: bool = False


def open_session(  # noqa: PLR0917 - a step: the ledger passes what it is given in order
    change: Change, user: UserId, device: DeviceId, initial_name: str | None, now_ms: int, issued: Tokens
) -> Session:
    """Log `device` in with `issued`; what tokens it had are over. `initial_name` names a new device only.

    Raises:
        DeactivatedError: the account is not active.
    """
    if not accounts.is_active(change, user):
        raise DeactivatedError("this account was deactivated")
    number = change.intern(user)
    devices.ensure(change, user, device, initial_name, now_ms)
    tokens.drop_device(change, number, device)
    tokens.add(change, number, device, issued, confirmed=True)
    return Session(user, device, change.position)


def authenticate(index: Index, access_token: str, now_ms: int) -> Session:
    """Return the session of `access_token`.

    Raises:
        UnknownTokenError: nobody was given it, or it expired (then with `soft_logout`).
    """
    return _look_up(index, access_token, now_ms)[0]


def _look_up(index: Index, access_token: str, now_ms: int) -> tuple[Session, int]:
    """Return the session, and until when that is all there is to say about it unless a token ends."""
    row = index.row(
        "SELECT t.user, t.device, t.generation, t.expires_ms, t.confirmed, d.last_seen_ms FROM tokens t"
        " LEFT JOIN devices d ON d.user = t.user AND d.device = t.device WHERE t.hash = ? AND t.refresh = 0",
        tokens.hash_token(access_token),
    )
    if row is None:
        raise UnknownTokenError("this access token is not known")
    user, device, generation, expires_ms, confirmed, seen_ms = row
    if expires_ms is not None and expires_ms <= now_ms:
        raise UnknownTokenError("this access token has expired", soft_logout=True)
    fresh_until_ms = (seen_ms or 0) + LAST_SEEN_RESOLUTION_MS
    session = Session(UserId(index.name(user)), DeviceId(device), generation, bool(confirmed), now_ms > fresh_until_ms)
    return session, fresh_until_ms if expires_ms is None else min(fresh_until_ms, expires_ms - 1)


def confirm(change: Change, session: Session, now_ms: int) -> None:
    """Note the first use of a refreshed pair, and that the device was seen."""
    user = change.intern(session.user)
    if not session.confirmed:
        tokens.confirm(change, user, session.device, session.token_number)
    if session.stale:
        devices.touch(change, session.user, session.device, now_ms)


def refresh(change: Change, refresh_token: str, issued: Tokens) -> Session:
    """Give the device of `refresh_token` the pair `issued`; the old pair lives until the new one is used.

    Raises:
        UnknownTokenError: the refresh token is unknown, or its successor was used already.
    """
    row = change.row(
        "SELECT user, device, generation, confirmed FROM tokens WHERE hash = ? AND refresh = 1",
        tokens.hash_token(refresh_token),
    )
    if row is None:
        raise UnknownTokenError("this refresh token is not known or was used before")
    user, device, generation, confirmed = row
    if not confirmed:
        tokens.confirm(change, user, device, generation)
    tokens.drop_newer(change, user, device, generation)
    tokens.add(change, user, device, issued, confirmed=False)
    return Session(UserId(change.name(user)), DeviceId(device), change.position, confirmed=False)


def close(change: Change, session: Session) -> list[DeviceId]:
    """Log the device out, which deletes it; return it if others have to be told that its keys are gone."""
    return devices.delete(change, session.user, [session.device])


def close_all(change: Change, user: UserId, *, keep: DeviceId | None = None) -> list[DeviceId]:
    """Log every device of `user` out except `keep`; return as `close`."""
    gone = [device.device for device in devices.list_devices(change, user) if device.device != keep]
    return devices.delete(change, user, gone)


class Sessions:
    """The door's bell: turns tokens into sessions, and keeps what a first use has to write.

    Tokens that were shown lately are known by heart, until any token ends: a look into the ledger for every request
    would be a tenth of the work of sending a message.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        # Open as long as the ledger: an end is heard before whoever asked for it is answered.
        self._endings = ledger.watch(tokens.ENDINGS).__enter__()
        self._known: dict[str, tuple[Session, int]] = {}

    async def authenticate(self, access_token: str) -> Session:
        """Return the session of `access_token`.

        Raises:
            UnknownTokenError: as the function of this name.
        """
        now_ms = self._clock.wall_ms()
        known = self._known_now()
        held = known.get(access_token)
        if held is not None and now_ms <= held[1]:
            return held[0]
        try:
            session, until_ms = await self._ledger.read(_look_up, access_token, now_ms)
        except UnknownTokenError:
            if self._ledger.incomplete:
                # An app that is told its token is unknown throws its keys away.
                raise StorageError("the box is damaged: it may have forgotten this token") from None
            raise
        # Where flash has failed nobody can be noted any more, and everybody still reads.
        if (session.stale or not session.confirmed) and self._ledger.healthy:
            await self._ledger.run(confirm, session, now_ms)
        elif not session.stale and session.confirmed and self._known_now() is known and len(known) < MAX_KNOWN_TOKENS:
            known[access_token] = session, until_ms
        return session

    def _known_now(self) -> dict[str, tuple[Session, int]]:
        # A new one, not an emptied one: what was read before a token ended is not put into it.
        if self._endings.take() or len(self._known) >= MAX_KNOWN_TOKENS:
            self._known = {}
        return self._known
