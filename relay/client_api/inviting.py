"""Asking somebody into a room, whoever they are: their consent is asked first where they live here."""

from collections.abc import Mapping
from typing import Any

from relay.base.ids import EventId, RoomId, ServerName, UserId, server_of
from relay.delivery.ledger import Index, Ledger
from relay.household import consent, profile
from relay.rooms.matrix.membership.inviting import Inviting


class Invites:
    """Invites from people of this box."""

    def __init__(self, ledger: Ledger, inviting: Inviting, server: ServerName) -> None:
        self._ledger = ledger
        self._inviting = inviting
        self._server = server

    async def invite(self, sender: UserId, room: RoomId, target: UserId, content: Mapping[str, Any]) -> EventId:
        """Invite `target`; `content` is added to the member event.

        Raises:
            InviteBlockedError: they take no invites.
            ForbiddenError: the rules of the room refuse it.
            UnreachableError, PeerRefusedError: their server does not take it.
        """
        shown: dict[str, Any] = {}
        if server_of(target) == self._server:
            shown = await self._ledger.read(_check, sender, target)
        return await self._inviting.invite(sender, room, target, {**shown, **content})


def _check(index: Index, sender: UserId, target: UserId) -> dict[str, Any]:
    consent.check_invite(index, target, sender)
    return {key: value for key, value in profile.get(index, target).items() if key in profile.IN_MEMBER_EVENTS}
