"""On the new box: what was packed is unpacked into an account, and its rooms are joined again where that is allowed."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from relay.base.errors import (
    ForbiddenError,
    InvalidInputError,
    InvalidParamError,
    NotFoundError,
    PeerRefusedError,
    RelayError,
    UnreachableError,
)
from relay.base.ids import RoomId, ServerName, UserId, parse_room_alias, parse_room_id, parse_server_name
from relay.base.limits import MAX_JOIN_VIA, MAX_MOVED_PICTURE_BYTES
from relay.delivery.media import Media
from relay.delivery.moving.departing import FORMAT
from relay.household import luggage, profile
from relay.household.luggage import Record
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.storage import members
from relay.store.ledger import Change, Index, Ledger

_PICTURE = "avatar_url"


class Arriving:
    """Takes one person in after the other."""

    def __init__(self, ledger: Ledger, media: Media, joining: Joining | None, server: ServerName) -> None:
        self._ledger = ledger
        self._media = media
        self._joining = joining
        self._server = server
        self._pictures: dict[UserId, tuple[dict[str, Any], bytearray]] = {}

    async def fits(self, user: UserId, default_key: str, backups: Collection[bytes]) -> bool:
        """Return whether secret storage and key backups can move in; see `luggage.fits`."""
        return await self._ledger.read(luggage.fits, user, default_key, backups)

    async def unpack(self, user: UserId, records: list[Record], *, secrets: bool) -> Counter[str]:
        """Take a page in, in one change; return how many things came, by kind. A second time nothing comes.

        Raises:
            RelayError: a record is none that a box packs; nothing of this page was taken in.
        """
        counts: Counter[str] = Counter()
        kept: list[Record] = []
        for record in records:
            match record:
                case ["account", dict(about)]:
                    _check_format(about)
                case ["picture", dict(about)]:
                    # One at a time: what an import that was cut short left behind goes.
                    self._pictures = {user: (about, bytearray())}
                case ["piece", bytes(piece)]:
                    self._add_piece(user, piece)
                case ["profile", dict(fields)]:
                    kept.append(["profile", await self._with_picture(user, fields)])
                case ["room", dict()]:
                    counts["rooms"] += 1
                case _:
                    kept.append(record)

        def step(change: Change) -> Counter[str]:
            found: Counter[str] = Counter()
            for record in kept:
                found += luggage.unpack(change, user, record, secrets=secrets)
            return found

        return counts + await self._ledger.run(step)

    def _add_piece(self, user: UserId, piece: bytes) -> None:
        _, held = self._pictures.get(user, ({}, bytearray()))
        if len(held) + len(piece) > MAX_MOVED_PICTURE_BYTES or user not in self._pictures:
            raise InvalidParamError("the picture is larger than one that is packed")
        held += piece

    async def _with_picture(self, user: UserId, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the profile with the picture's address on this box; one that did not come along keeps its own."""
        about, content = self._pictures.pop(user, ({}, bytearray()))
        held = await self._ledger.read(profile.get, user)
        others = {name: value for name, value in fields.items() if name != _PICTURE}
        if not content or _PICTURE in held:
            return others if content or _PICTURE in held else fields
        media_id = await self._media.upload(
            user, _pieces(bytes(content)), str(about.get("content_type")), _text(about.get("filename"))
        )
        return {**others, _PICTURE: f"mxc://{self._server}/{media_id}"}

    async def rejoin(self, user: UserId, card: Mapping[str, Any]) -> tuple[str, str]:
        """Join a packed room again; return what came of it and why.

        `there` already, `joined`, `invite` (somebody inside has to invite the new account), `silent` (nobody who could
        let it in answered), `later` (no network here), `refused`.
        """
        room = parse_room_id(str(card.get("room")))
        if await self._ledger.read(members.membership, room, user) == "join":
            return "there", ""
        if self._joining is None:
            return "later", "the box is not running"
        if card.get("membership") != "join" and await self._ledger.read(members.membership, room, user) != "invite":
            return "invite", "the old account was not in it"
        try:
            await self._join(self._joining, user, room, card)
        except (ForbiddenError, PeerRefusedError) as error:
            banned = await self._ledger.read(members.membership, room, user) == "ban"
            return ("refused" if banned else "invite"), str(error)
        except RelayError as error:
            return ("silent" if error.retryable or isinstance(error, NotFoundError) else "refused"), str(error)
        return "joined", ""

    async def _join(self, joining: Joining, user: UserId, room: RoomId, card: Mapping[str, Any]) -> None:
        shown = await self._ledger.read(_shown, user)
        try:
            await joining.join(user, room, _servers(card.get("via")), shown)
        except (NotFoundError, UnreachableError):
            # Those who knew the room then may be gone; its names may lead to others.
            for alias in _texts(card.get("aliases")):
                with contextlib.suppress(RelayError):
                    found, servers = await joining.resolve_alias(parse_room_alias(alias))
                    if found == room:
                        await joining.join(user, room, servers, shown)
                        return
            raise


def _check_format(about: Mapping[str, Any]) -> None:
    found = about.get("format")
    if not isinstance(found, int) or found > FORMAT:
        raise InvalidInputError(f"a newer release packed this: format {found}, this release knows {FORMAT}")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _servers(value: object) -> list[ServerName]:
    return [parse_server_name(name) for name in _texts(value)[:MAX_JOIN_VIA]]


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _shown(index: Index, user: UserId) -> dict[str, Any]:
    return {name: value for name, value in profile.get(index, user).items() if name in profile.IN_MEMBER_EVENTS}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
