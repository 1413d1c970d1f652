"""A person's own account: who am I, another password, the end (client-server API, "Account management")."""

from collections.abc import Awaitable, Callable

from relay.base.clock import Clock
from relay.base.ids import UserId
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_bool, required_text
from relay.client_api.interactive_auth import InteractiveAuth
from relay.client_api.login import NoteDevices
from relay.delivery.ledger import Change, Ledger
from relay.household import account_data, accounts, cross_signing, key_backup, profile, sessions
from relay.household.sessions import Session
from relay.transport.message import Request

LeaveRooms = Callable[[UserId], Awaitable[None]]
"""Takes a person out of every room and declines every invite."""


def register(
    door: Door, ledger: Ledger, clock: Clock, *, auth: InteractiveAuth, note: NoteDevices, leave_rooms: LeaveRooms
) -> None:
    """Hang the endpoints of accounts here."""
    account = _AccountEndpoints(ledger, clock, auth, note, leave_rooms)
    door.private("GET", "/_matrix/client/v3/account/whoami", account.whoami)
    door.private("POST", "/_matrix/client/v3/account/password", account.password)
    door.private("POST", "/_matrix/client/v3/account/deactivate", account.deactivate)
    door.private("GET", "/_matrix/client/v3/account/3pid", account.third_party_ids)


def close_account(change: Change, user: UserId, now_ms: int, note: NoteDevices, *, erase: bool) -> None:
    """Deactivate `user`: no password, no devices, no keys; with `erase` no profile, account data and backups either.

    Raises:
        NotFoundError: no such active account.
    """
    accounts.deactivate(change, user, now_ms)
    for gone in sessions.close_all(change, user):
        note(change, user, gone)
    if cross_signing.erase(change, user):
        note(change, user, None)
    if erase:
        profile.erase(change, user)
        account_data.erase(change, user)
        key_backup.erase(change, user)


class _AccountEndpoints:
    def __init__(
        self, ledger: Ledger, clock: Clock, auth: InteractiveAuth, note: NoteDevices, leave_rooms: LeaveRooms
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._auth = auth
        self._note = note
        self._leave_rooms = leave_rooms

    async def whoami(self, session: Session, _request: Request) -> Reply:
        return {"user_id": session.user, "device_id": session.device, "is_guest": False}

    async def third_party_ids(self, _session: Session, _request: Request) -> Reply:
        return {"threepids": []}

    async def password(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        new, end_others = required_text(body, "new_password"), optional_bool(body, "logout_devices", default=True)
        accounts.check_password(new)
        challenge = await self._auth.password("account/password", session, request, body)
        if challenge is not None:
            return challenge
        password_hash = await accounts.hash_password(new)

        def step(change: Change) -> None:
            accounts.set_password(change, session.user, password_hash)
            if end_others:
                for gone in sessions.close_all(change, session.user, keep=session.device):
                    self._note(change, session.user, gone)

        await self._ledger.run(step)
        return None

    async def deactivate(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        erase = optional_bool(body, "erase")
        challenge = await self._auth.password("account/deactivate", session, request, body)
        if challenge is not None:
            return challenge
        await self._ledger.run(close_account, session.user, self._clock.wall_ms(), self._note, erase=erase)
        await self._leave_rooms(session.user)
        return {"id_server_unbind_result": "no-support"}
