"""Joining, leaving and inviting across servers: the doors onto `rooms.matrix.membership.hosting`.

Source: Matrix S2S v1.19, "Joining Rooms", "Leaving Rooms (Rejecting Invites)", "Inviting to a room".
"""

from relay.base.errors import InvalidInputError, MissingParamError
from relay.base.limits import MAX_JSON_BODY_BYTES
from relay.delivery.bounds.admission import Admission
from relay.federation.matrix.asking import Asking, parameters
from relay.federation.matrix.origin_rate import OriginRate
from relay.rooms.matrix.membership.hosting import Hosting, IncompatibleRoomVersionError
from relay.transport.message import Response


class Handshakes:
    """Answers the requests that bring a server into a room, out of it, or ask ours in."""

    def __init__(self, hosting: Hosting, admission: Admission, invites: OriginRate) -> None:
        self._hosting = hosting
        self._admission = admission
        self._invites = invites

    async def make_join(self, asking: Asking) -> Response:
        """GET v1/make_join."""
        versions = asking.request.query.get("ver", ["1"])
        return Response.json(await self._hosting.make_join(asking.origin, asking.room(), asking.user(), versions))

    async def send_join(self, asking: Asking) -> Response:
        """PUT v2/send_join: state and auth chain as they were before the join."""
        content = asking.object()
        await self._admit(asking)
        with parameters():
            answer = await self._hosting.send_join(asking.origin, asking.room(), asking.event(), content)
        return Response.json(answer)

    async def make_leave(self, asking: Asking) -> Response:
        """GET v1/make_leave."""
        return Response.json(await self._hosting.make_leave(asking.origin, asking.room(), asking.user()))

    async def send_leave(self, asking: Asking) -> Response:
        """PUT v2/send_leave."""
        content = asking.object()
        with parameters():
            await self._hosting.send_leave(asking.origin, asking.room(), asking.event(), content)
        return Response.json({})

    async def invite_v1(self, asking: Asking) -> Response:
        """PUT v1/invite, which is for rooms of version 1 and 2 only.

        Raises:
            IncompatibleRoomVersionError: always; this box knows neither.
        """
        asking.object()
        raise IncompatibleRoomVersionError("1")

    async def invite_v2(self, asking: Asking) -> Response:
        """PUT v2/invite: a stranger's question, signed and kept until somebody here answers it."""
        self._invites.take(asking.origin)
        await self._admit(asking)
        body = asking.object()
        event, version, stripped = body.get("event"), body.get("room_version"), body.get("invite_room_state", [])
        if not isinstance(event, dict) or not isinstance(version, str):
            raise MissingParamError("event or room_version is missing")
        if not isinstance(stripped, list):
            raise InvalidInputError("invite_room_state is not a list")
        with parameters():
            signed = await self._hosting.receive_invite(
                asking.origin, asking.room(), asking.event(), version=version, pdu=event, stripped=stripped
            )
        return Response.json({"event": signed})

    async def _admit(self, asking: Asking) -> None:
        self._admission.take_from_server(asking.origin, len(await asking.request.body(MAX_JSON_BODY_BYTES)))
