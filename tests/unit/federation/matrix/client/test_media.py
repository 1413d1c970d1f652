import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from relay.base.errors import NotFoundError, PeerRefusedError, UnreachableError
from relay.base.ids import MediaId, ServerName
from relay.core.matrix.signing import generate
from relay.federation.matrix.client.client import FederationClient
from relay.federation.matrix.client.media import MatrixMedia, filename_of
from relay.transport.destination import Destination
from relay.transport.message import Request, Response
from tests.fakes.network import MemoryNetwork, destination

OMA = ServerName("oma.example")
MIXED = [("Content-Type", "multipart/mixed; boundary=b")]


class Places:
    async def resolve(self, server: ServerName) -> Sequence[Destination]:
        return [destination(server)]


@contextlib.asynccontextmanager
async def media_of(response: Response) -> AsyncIterator[MatrixMedia]:
    async def answer(request: Request) -> Response:
        assert request.path == "/_matrix/federation/v1/media/download/m"
        return response

    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery)
        network.serve(OMA, 8448, answer)
        key = generate(b"k" * 32, "a")
        client = FederationClient(await network.client(), Places(), ServerName("box.example"), key, timeout_s=5)
        yield MatrixMedia(client)
        nursery.cancel_scope.cancel()


async def fetch(media: MatrixMedia) -> tuple[str | None, str | None, bytes]:
    async with media.fetch(OMA, MediaId("m")) as file:
        return file.content_type, file.filename, b"".join([piece async for piece in file.chunks])


async def test_the_second_part_is_the_file() -> None:
    body = (
        b"--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: text/plain\r\n"
        b"Content-Disposition: inline; filename=a.txt\r\n\r\nhello\r\n--b--\r\n"
    )
    async with media_of(Response(200, MIXED, body)) as media:
        assert await fetch(media) == ("text/plain", "a.txt", b"hello")


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response.json({"errcode": "M_NOT_FOUND"}, 404), NotFoundError),
        (Response.json({"errcode": "M_FORBIDDEN"}, 403), PeerRefusedError),
        (Response.json({"errcode": "M_NOT_YET_UPLOADED"}, 504), UnreachableError),
        (Response.json({}), UnreachableError),
        (Response(200, MIXED, b"--b\r\n\r\n{}\r\n--b\r\n\r\nhalf of"), UnreachableError),
        (Response(200, MIXED, b"nothing like it"), UnreachableError),
        (
            Response(200, MIXED, b"--b\r\n\r\n{}\r\n--b\r\nLocation: http://192.0.2.1/\r\n\r\n\r\n--b--"),
            UnreachableError,
        ),
    ],
)
async def test_what_is_not_a_file_is_an_error(response: Response, error: type[Exception]) -> None:
    async with media_of(response) as media:
        with pytest.raises(error):
            await fetch(media)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("inline", None),
        ("attachment; filename=a.txt", "a.txt"),
        ('attachment; filename="a \\"b\\".txt"', 'a "b".txt'),
        ("attachment; filename=x; filename*=utf-8''n%C3%A4me", "näme"),
    ],
)
def test_the_file_name_is_read(disposition: str, name: str | None) -> None:
    assert filename_of(disposition) == name
