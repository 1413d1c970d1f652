"""People who move from this box, or to it, as the local operator sees them."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from relay.admin.operations import People
from relay.app.house import House
from relay.app.network import Network
from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import UserId, make_user_id, parse_room_id, parse_user_id
from relay.household import accounts

if TYPE_CHECKING:
    from relay.delivery.moving.arriving import Arriving
    from relay.delivery.moving.departing import Departing


class HouseMoving:
    """`relay.admin.moving.Moving` on the whole house.

    `connect` gives its network at the first use; where that does not run, rooms are neither joined nor invited to.
    """

    def __init__(
        self, house: House, people: People, connect: Callable[[], Awaitable[Network]], *, running: bool
    ) -> None:
        self._house = house
        self._people = people
        self._connect = connect
        self._running = running
        self._ways: tuple[Departing, Arriving] | None = None

    async def pack(self, localpart: str, after: str) -> dict[str, Any]:
        """Return the next page; see the Protocol."""
        from relay.delivery.moving import parcel
        from relay.delivery.moving.departing import FIRST

        departing, _ = await self._open()
        place = _read(after, list) if after else FIRST
        records, following = await departing.page(self._user(localpart), place)
        return {"records": parcel.wrap(records), "after": "" if following is None else json.dumps(following)}

    async def invite(self, localpart: str, room: str, target: str) -> dict[str, Any]:
        """Invite the new account; see the Protocol."""
        departing, _ = await self._open()
        outcome, why = await departing.invite(self._user(localpart), parse_room_id(room), parse_user_id(target))
        return {"outcome": outcome, "why": why}

    async def move_in(self, localpart: str, secrets: str, password: str) -> dict[str, Any]:
        """Find or make the account; see the Protocol."""
        _, arriving = await self._open()
        user, about = self._user(localpart), _read(secrets, dict)
        made = not await self._house.ledger.read(accounts.is_active, user)
        if made and not password:
            raise NotFoundError(f"{user} is not here yet: a password makes the account")
        if made:
            await self._people.add(localpart, password, admin=False)
        backups = [bytes.fromhex(text) for text in about.get("backups", [])]
        fits = await arriving.fits(user, str(about.get("default_key", "")), backups)
        return {"user": user, "made": made, "secrets": fits}

    async def unpack(self, localpart: str, records: str, *, secrets: bool) -> dict[str, Any]:
        """Take in a page; see the Protocol."""
        from relay.delivery.moving import parcel

        _, arriving = await self._open()
        return dict(await arriving.unpack(await self._present(localpart), parcel.unwrap(records), secrets=secrets))

    async def rejoin(self, localpart: str, card: str) -> dict[str, Any]:
        """Join a room again; see the Protocol."""
        _, arriving = await self._open()
        outcome, why = await arriving.rejoin(await self._present(localpart), _read(card, dict))
        return {"outcome": outcome, "why": why}

    async def _open(self) -> "tuple[Departing, Arriving]":
        if self._ways is None:
            # Most boxes never see anybody move: loaded with the first who does.
            from relay.delivery.moving.arriving import Arriving
            from relay.delivery.moving.departing import Departing

            network, house = await self._connect(), self._house
            inviting, joining = (network.inviting, network.joining) if self._running else (None, None)
            self._ways = (
                Departing(house.ledger, network.media, inviting, house.server),
                Arriving(house.ledger, network.media, joining, house.server),
            )
        return self._ways

    def _user(self, localpart: str) -> UserId:
        return make_user_id(localpart, self._house.server)

    async def _present(self, localpart: str) -> UserId:
        user = self._user(localpart)
        if not await self._house.ledger.read(accounts.is_active, user):
            raise NotFoundError("nobody here has this name")
        return user


def _read(text: str, kind: type) -> Any:  # noqa: ANN401 - a JSON value of this kind
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise InvalidInputError(f"a field of the request is no JSON {kind.__name__}")
    return value
