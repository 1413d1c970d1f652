"""Local aliases of rooms, and which rooms are listed in the directory."""

from relay.base.errors import ConflictError, NotFoundError
from relay.base.ids import RoomAlias, RoomId, UserId
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.tables import DROP_ALIAS, PUBLISH_ROOM, PUT_ALIAS
from relay.store.ledger import Change, Index


def create(change: Change, alias: RoomAlias, room: RoomId, creator: UserId) -> None:
    """Bind an alias of this server to a room.

    Raises:
        ConflictError: it is bound already.
    """
    number = change.intern(alias)
    if change.row("SELECT 1 FROM aliases WHERE alias = ?", number) is not None:
        raise ConflictError("this room alias is taken")
    change.write(PUT_ALIAS, number, change.intern(room), change.intern(creator))


def delete(change: Change, alias: RoomAlias) -> None:
    """Unbind an alias.

    Raises:
        NotFoundError: it is not bound.
    """
    if resolve(change, alias) is None:
        raise NotFoundError("there is no such room alias")
    change.write(DROP_ALIAS, change.intern(alias))


def resolve(index: Index, alias: RoomAlias) -> RoomId | None:
    """Return the room of a local alias."""
    number = index.value("SELECT room FROM aliases WHERE alias = ?", index.find(alias))
    return None if number is None else RoomId(index.name(number))


def creator(index: Index, alias: RoomAlias) -> UserId | None:
    """Return who bound a local alias."""
    number = index.value("SELECT creator FROM aliases WHERE alias = ?", index.find(alias))
    return None if number is None else UserId(index.name(number))


def of_room(index: Index, room: RoomId) -> list[RoomAlias]:
    """Return the local aliases of a room. A household has few: this reads them all."""
    rows = index.rows("SELECT alias FROM aliases WHERE room = ? ORDER BY alias", index.find(room))
    return [RoomAlias(index.name(number)) for (number,) in rows]


def set_published(change: Change, room: RoomId, *, published: bool) -> None:
    """List a room in the directory, or take it out.

    Raises:
        NotFoundError: this box holds no such room.
    """
    held = graph.row(change, room)
    if held is None:
        raise NotFoundError("this room is not known here")
    change.write(PUBLISH_ROOM, held.number, int(published))


def published(index: Index) -> list[RoomId]:
    """Return the rooms listed in the directory."""
    rows = index.rows("SELECT number FROM rooms WHERE published = 1 ORDER BY number")
    return [RoomId(index.name(number)) for (number,) in rows]
