"""The house as the local operator sees it: its people and its health."""

import resource
import time
from dataclasses import asdict
from typing import Any

from relay.admin.operations import Finding, Person
from relay.app.house import House
from relay.base.ids import UserId, make_user_id
from relay.client_api.account import LeaveRooms, close_account
from relay.delivery import device_fan_out
from relay.delivery.outbox.queue import all_standings
from relay.household import accounts, invitations, sessions
from relay.store.keyring import protection
from relay.store.ledger import Change, Index

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

    async def invite(self) -> tuple[str, int]:
        """Return a new invitation to the household; see the Protocol."""
        token, now_ms = invitations.draw_invitation(), self._house.clock.wall_ms()
        await self._house.ledger.run(invitations.create, token, now_ms, INVITATION_TTL_MS)
        return token, now_ms + INVITATION_TTL_MS


class HouseReport:
    """`relay.admin.operations.Report`: what runs, what waits, what is wrong."""

    def __init__(self, house: House, listening: dict[str, str]) -> None:
        self._house = house
        self._listening = listening
        self._begun_s = time.monotonic()

    async def status(self) -> dict[str, Any]:
        """Return the state of the house as JSON values."""
        house = self._house
        users, waiting = await house.ledger.read(_count)
        return {
            "server": house.server,
            "listening": self._listening,
            "protection": protection(house.folder, house.config.store),
            "users": users,
            "ledger": asdict(house.ledger.status()),
            "outboxes": waiting,
            "uptime_s": round(time.monotonic() - self._begun_s, 1),
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }

    async def findings(self) -> list[Finding]:
        """Return what is wrong, worst first."""
        findings = []
        ledger = self._house.ledger.status()
        if not ledger.healthy:
            findings.append(
                Finding(
                    "fault",
                    "flash refused a write: nothing new is taken in, what is stored can be read",
                    "make a copy of the state folder, replace the card, then start the box again",
                )
            )
        if ledger.failed_checkpoints:
            what = f"{ledger.failed_checkpoints} checkpoints of the index failed"
            findings.append(Finding("warning", what, "look at free space and at the kernel log for I/O errors"))
        if protection(self._house.folder, self._house.config.store).startswith("none"):
            findings.append(
                Finding(
                    "note",
                    "the key lies beside what it seals: a stolen card can be read",
                    "keep the key elsewhere: provision with --key-file, or store.key_source=passphrase",
                )
            )
        return findings


def _count(index: Index) -> tuple[int, list[dict[str, Any]]]:
    users = sum(account.active for account in accounts.list_accounts(index))
    standings = [
        {"server": server, "to_device_bytes": standing.queued_bytes}
        for server, standing in all_standings(index).items()
    ]
    return users, standings
