"""The people of the house as the local operator sees them."""

from relay.admin.operations import Person
from relay.app.house import House
from relay.base.ids import UserId, make_user_id
from relay.client_api.account import LeaveRooms, close_account
from relay.delivery import device_fan_out
from relay.household import accounts, invitations, sessions
from relay.store.ledger import Change

INVITATION_TTL_MS = 7 * 24 * 3600 * 1000


class HousePeople:
    """`relay.admin.operations.People` on the household's tables."""

    def __init__(self, house: House, leave_rooms: LeaveRooms | None) -> None:
        self._house = house
        self._leave_rooms = leave_rooms

    async def add(self, localpart: str, password: str, *, admin: bool) -> UserId:
        """Make an account; see the Protocol."""
        user = accounts.new_user_id(localpart, self._house.server)
        password_hash = await accounts.hash_password(password)
        await self._house.ledger.run(accounts.create, user, password_hash, self._house.clock.wall_ms(), admin=admin)
        return user

    async def listed(self) -> list[Person]:
        """Return everybody; see the Protocol."""
        people = await self._house.ledger.read(accounts.list_accounts)
        return [Person(person.user, person.admin, person.active) for person in people]

    async def set_password(self, localpart: str, password: str) -> None:
        """Replace a password and sign the devices out; see the Protocol."""
        user = make_user_id(localpart, self._house.server)
        password_hash = await accounts.hash_password(password)

        def step(change: Change) -> None:
            accounts.set_password(change, user, password_hash)
            for gone in sessions.close_all(change, user):
                device_fan_out.note(change, user, gone)

        await self._house.ledger.run(step)

    async def deactivate(self, localpart: str) -> None:
        """Close an account; its rooms are left only while the box runs; see the Protocol."""
        user = make_user_id(localpart, self._house.server)
        now_ms = self._house.clock.wall_ms()
        await self._house.ledger.run(close_account, user, now_ms, device_fan_out.note, erase=False)
        if self._leave_rooms is not None:
            await self._leave_rooms(user)

    async def is_owners(self, password: str) -> bool:
        """Return whether this is the password of somebody who looks after the box; see the Protocol."""
        for password_hash in await self._house.ledger.read(accounts.admin_hashes):
            if await accounts.verify_password(password_hash, password):
                return True
        return False

    async def invite(self) -> tuple[str, int]:
        """Return a new invitation to the household; see the Protocol."""
        token, now_ms = invitations.draw_invitation(), self._house.clock.wall_ms()
        await self._house.ledger.run(invitations.create, token, now_ms, INVITATION_TTL_MS)
        return token, now_ms + INVITATION_TTL_MS
