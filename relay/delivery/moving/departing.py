"""On the old box: everything a person takes along, page by page, and invitations of the old account to the new one."""

from relay.base.errors import NotFoundError, RelayError
from relay.base.ids import MediaId, RoomId, ServerName, UserId
from relay.base.limits import MAX_LUGGAGE_PAGE_BYTES, MAX_MOVED_PICTURE_BYTES
from relay.delivery.media import Media, StoredMedia
from relay.household import account_data, accounts, luggage, profile
from relay.household.luggage import Place, Record
from relay.rooms.matrix.membership.inviting import Inviting
from relay.rooms.matrix.membership.room_cards import room_card, rooms_to_keep
from relay.rooms.matrix.storage import members
from relay.store.ledger import Index, Ledger

FORMAT = 1
"""Of what is packed. A release takes in every format up to its own."""

FIRST: Place = []
_ROOMS = 16
# A picture that is still to be uploaded is not waited for.
_LOOK_S = 1.0


class Departing:
    """Packs for one person at a time; nothing is changed by it, apart from invitations."""

    def __init__(self, ledger: Ledger, media: Media, inviting: Inviting | None, server: ServerName) -> None:
        self._ledger = ledger
        self._media = media
        self._inviting = inviting
        self._server = server

    async def page(self, user: UserId, place: Place) -> tuple[list[Record], Place | None]:
        """Return the next records and where to go on, None at the end; begin at `FIRST`.

        Beside the records of `household.luggage`: `["account", {...}]` first, `["picture", {...}]` and
        `["piece", bytes]` of the profile picture before the profile, `["room", card]` for each room at the end.

        Raises:
            NotFoundError: there is no such account, or it was closed.
            InvalidInputError: no page ever ended at `place`.
        """
        match place:
            case []:
                await self._ledger.read(_require_account, user)
                return [["account", {"format": FORMAT, "user": user, "server": self._server}]], ["picture", 0]
            case ["picture", int(start)]:
                return await self._picture(user, start)
            case ["rooms", str(after)]:
                return await self._ledger.read(_rooms, user, self._server, after)
            case _:
                records, following = await self._ledger.read(luggage.page, user, place)
                return records, ["rooms", ""] if following is None else following

    async def _picture(self, user: UserId, start: int) -> tuple[list[Record], Place | None]:
        found = await self._find_picture(user)
        if found is None or found.file.size_bytes > MAX_MOVED_PICTURE_BYTES:
            return [], luggage.FIRST
        end = min(start + MAX_LUGGAGE_PAGE_BYTES, found.file.size_bytes)
        piece = b"".join([chunk async for chunk in self._media.read(found.file, start, end)])
        about = {"content_type": found.content_type, "filename": found.filename, "bytes": found.file.size_bytes}
        records: list[Record] = [["picture", about]] if start == 0 else []
        return [*records, ["piece", piece]], luggage.FIRST if end == found.file.size_bytes else ["picture", end]

    async def _find_picture(self, user: UserId) -> StoredMedia | None:
        fields = await self._ledger.read(profile.get, user)
        server, _, media_id = str(fields.get("avatar_url", "")).removeprefix("mxc://").partition("/")
        if server != self._server or not media_id:
            return None
        try:
            return await self._media.find_local(MediaId(media_id), _LOOK_S)
        except RelayError:
            # An address without a file behind it: there is nothing to take along.
            return None

    async def invite(self, user: UserId, room: RoomId, target: UserId) -> tuple[str, str]:
        """Let the old account invite the new one; return (`invited`, `there` or `refused`, why)."""
        if self._inviting is None:
            return "later", "the box is not running"
        held, theirs = await self._ledger.read(_memberships, room, user, target)
        if held != "join":
            return "refused", "the old account is not in it"
        if theirs in ("join", "invite"):
            return "there", ""
        try:
            await self._inviting.invite(user, room, target)
        except RelayError as error:
            return "refused", str(error)
        return "invited", ""


def _require_account(index: Index, user: UserId) -> None:
    if not accounts.is_active(index, user):
        raise NotFoundError("nobody here has this name")


def _memberships(index: Index, room: RoomId, *users: UserId) -> list[str | None]:
    return [members.membership(index, room, user) for user in users]


def _rooms(index: Index, user: UserId, here: ServerName, after: str) -> tuple[list[Record], Place | None]:
    rooms = rooms_to_keep(index, user)
    begin = rooms.index(RoomId(after)) + 1 if after in rooms else 0
    marks = account_data.get(index, user, None, "m.direct") or {}
    direct = {room for listed in marks.values() if isinstance(listed, list) for room in listed if isinstance(room, str)}
    chosen = rooms[begin : begin + _ROOMS]
    records: list[Record] = [
        ["room", {**room_card(index, user, room, here), "direct": room in direct}] for room in chosen
    ]
    return records, ["rooms", chosen[-1]] if begin + _ROOMS < len(rooms) else None
