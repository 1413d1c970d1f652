import contextlib
from collections.abc import AsyncIterator

import pytest
import trio

from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import MediaId, ServerName
from relay.delivery.media import Media
from relay.federation.matrix.asking import Asking
from relay.federation.matrix.client.media import filename_of
from relay.federation.matrix.files import Files
from relay.federation.matrix.multipart import MediaPart, boundary_of
from tests.fakes.federated import FederatedBox, FederatedTown
from tests.fakes.http import make_request, whole_body

OMA = ServerName("oma.example")


@contextlib.asynccontextmanager
async def box() -> AsyncIterator[FederatedBox]:
    async with trio.open_nursery() as nursery, FederatedTown(nursery).box("ada.example") as ada:
        yield ada
        nursery.cancel_scope.cancel()


async def _bytes() -> AsyncIterator[bytes]:
    yield b"\r\n--hello--\r\n"


def _asking(media_id: str, query: str = "") -> Asking:
    request = make_request("GET", f"/_matrix/federation/v1/media/download/x{query}")
    request.params["mediaId"] = media_id
    return Asking(OMA, request, None)


async def _served(media: Media, media_id: MediaId) -> tuple[bytes, dict[str, str]]:
    response = await Files(media).download(_asking(media_id))
    content_type = dict(response.headers)["Content-Type"]
    body = await whole_body(response)
    assert len(body) == response.length_bytes
    part = MediaPart(boundary_of(content_type))
    content = part.receive(body)
    part.close()
    assert part.headers is not None
    return content, part.headers


@pytest.mark.parametrize(
    ("said", "name", "kind", "shown"),
    [
        ("image/png", "cat.png", "image/png", "inline"),
        ("text/html", "page.html", "text/html", "attachment"),
        ("image/svg+xml", None, "image/svg+xml", "attachment"),
        ("text/plain; charset=utf-8", 'a "quoted" näme.txt', "text/plain; charset=utf-8", "inline"),
        ("text/html\r\nX-Evil: 1", "a\r\nX-Evil: 1", "application/octet-stream", "attachment"),
        ("no type", None, "application/octet-stream", "attachment"),
    ],
)
async def test_what_an_app_said_about_its_file_makes_no_header_of_its_own_and_no_page_that_runs(
    said: str, name: str | None, kind: str, shown: str
) -> None:
    async with box() as ada:
        media_id = await ada.media.upload(await ada.add_user("alice"), _bytes(), said, name)
        content, headers = await _served(ada.media, media_id)
        assert content == b"\r\n--hello--\r\n"
        assert set(headers) == {"content-type", "content-disposition"}
        assert headers["content-type"] == kind
        assert headers["content-disposition"].split(";")[0] == shown
        assert filename_of(headers["content-disposition"]) == name


async def test_what_names_no_file_is_not_found_and_a_wait_is_a_number() -> None:
    async with box() as ada:
        for media_id in ("", "../x", "a/b", "x" * 256, "unknown"):
            with pytest.raises(NotFoundError):
                await Files(ada.media).download(_asking(media_id))
        for wait in ("-1", "x", "1" * 10, "%C2%B2"):
            with pytest.raises(InvalidInputError):
                await Files(ada.media).download(_asking("unknown", f"?timeout_ms={wait}"))
