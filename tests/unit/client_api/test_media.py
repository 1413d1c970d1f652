"""Files through the door: kept sealed, handed out whole and in parts, fetched from afar once."""

import pytest
import trio

from relay.base.limits import MAX_MEDIA_BYTES, MAX_PENDING_UPLOADS_PER_USER, UPLOAD_WAIT_S
from relay.transport.message import Headers, Pieces, Request, Response
from tests.fakes.family import App, open_family

DOWNLOAD = "/_matrix/client/v1/media/download"
UPLOAD = "/_matrix/media/v3/upload"


async def body_of(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([piece async for piece in response.body])


async def upload(app: App, data: bytes, kind: str = "image/png", query: str = "") -> str:
    response = await app.ask("POST", UPLOAD + query, raw=data, headers={"content-type": kind})
    assert response.status == 200, response.body
    return str(response.parsed()["content_uri"]).removeprefix("mxc://")


async def test_a_file_comes_back_as_it_was_with_headers_that_make_it_harmless() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        data = bytes(range(256)) * 1000
        place = await upload(ann, data, query="?filename=cat.png")
        response = await bob.ask("GET", f"{DOWNLOAD}/{place}")
        headers = dict(response.headers)
        assert (response.status, await body_of(response), response.length_bytes) == (200, data, len(data))
        assert headers["Content-Type"] == "image/png"
        assert headers["Content-Disposition"] == 'inline; filename="cat.png"'
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_a_type_that_browsers_run_is_only_an_attachment() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        place = await upload(ann, b"<script>", "text/html", "?filename=%C3%A4%22.html")
        response = await ann.ask("GET", f"{DOWNLOAD}/{place}")
        assert dict(response.headers)["Content-Disposition"] == "attachment; filename*=utf-8''%C3%A4%22.html"
        named = await ann.ask("GET", f"{DOWNLOAD}/{place}/page.html")
        assert dict(named.headers)["Content-Disposition"] == 'attachment; filename="page.html"'
        place = await upload(ann, b"x", "text/html\x01; evil")
        assert dict((await ann.ask("GET", f"{DOWNLOAD}/{place}")).headers)["Content-Type"] == "application/octet-stream"


async def test_a_part_is_given_where_a_part_is_asked_for() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        data = bytes(range(200)) * 2000
        place = await upload(ann, data)
        part = await ann.ask("GET", f"{DOWNLOAD}/{place}", headers={"range": "bytes=70000-199999"})
        assert (part.status, await body_of(part)) == (206, data[70000:200000])
        assert dict(part.headers)["Content-Range"] == f"bytes 70000-199999/{len(data)}"
        tail = await ann.ask("GET", f"{DOWNLOAD}/{place}", headers={"range": "bytes=-5"})
        assert await body_of(tail) == data[-5:]
        beyond = await ann.ask("GET", f"{DOWNLOAD}/{place}", headers={"range": "bytes=999999999-"})
        assert (beyond.status, dict(beyond.headers)["Content-Range"]) == (416, f"bytes */{len(data)}")


async def test_a_file_of_another_server_is_fetched_once_also_for_two_who_ask_together() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        family.far.files["far.test", "abc"] = ("image/gif", "dog.gif", b"GIF" * 5000)
        got: list[bytes] = []

        async def ask(app: App) -> None:
            response = await app.ask("GET", f"{DOWNLOAD}/far.test/abc")
            got.append(await body_of(response))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ann)
            nursery.start_soon(ask, bob)
        await ask(ann)
        assert got == [b"GIF" * 5000] * 3
        assert family.far.asked == 1
        assert await ann.refused("GET", f"{DOWNLOAD}/far.test/none") == (404, "M_NOT_FOUND")


async def test_an_announced_file_can_be_waited_for_and_is_written_once() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        uri = (await ann.post("/_matrix/media/v1/create"))["content_uri"].removeprefix("mxc://")
        assert await bob.refused("GET", f"{DOWNLOAD}/{uri}?timeout_ms=0") == (504, "M_NOT_YET_UPLOADED")
        assert await bob.refused("PUT", f"{UPLOAD}/{uri}") == (403, "M_FORBIDDEN")
        got: list[Response] = []

        async def wait() -> None:
            got.append(await bob.ask("GET", f"{DOWNLOAD}/{uri}"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert (await ann.ask("PUT", f"{UPLOAD}/{uri}", raw=b"late")).status == 200
        assert await body_of(got[0]) == b"late"
        assert await ann.refused("PUT", f"{UPLOAD}/{uri}") == (409, "M_CANNOT_OVERWRITE_MEDIA")
        assert await ann.refused("PUT", f"{UPLOAD}/box.test/unknown") == (404, "M_NOT_FOUND")


async def test_who_waits_for_a_file_that_never_comes_waits_so_long(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        uri = (await ann.post("/_matrix/media/v1/create"))["content_uri"].removeprefix("mxc://")
        started = trio.current_time()
        assert await ann.refused("GET", f"{DOWNLOAD}/{uri}") == (504, "M_NOT_YET_UPLOADED")
        assert trio.current_time() - started == UPLOAD_WAIT_S


async def test_announcing_without_uploading_has_an_end() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        for _ in range(MAX_PENDING_UPLOADS_PER_USER):
            await ann.post("/_matrix/media/v1/create")
        assert await ann.refused("POST", "/_matrix/media/v1/create", {}) == (429, "M_LIMIT_EXCEEDED")


async def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        assert (await ann.get("/_matrix/client/v1/media/config")) == {"m.upload.size": MAX_MEDIA_BYTES}
        chunk = bytes(5 * 1024 * 1024)
        headers = Headers([(b"authorization", f"Bearer {ann.user} {ann.device}".encode())])
        request = Request("POST", UPLOAD, headers, source=Pieces(*[chunk] * 10, b"x"))
        response = await family.door.answer(request)
        assert (response.status, response.parsed()["errcode"]) == (413, "M_TOO_LARGE")
        assert family.media_files.used_bytes == 0


async def test_a_file_of_another_server_beyond_the_limit_is_that_servers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        monkeypatch.setattr("relay.delivery.media.MAX_MEDIA_BYTES", 4999)
        family.far.files["far.test", "abc"] = ("image/gif", "dog.gif", bytes(5000))
        path = "/_matrix/client/v1/media/download/far.test/abc"
        assert await ann.refused("GET", path) == (502, "M_TOO_LARGE")
        assert family.media_files.used_bytes == 0


async def test_a_thumbnail_of_a_picture_is_the_picture_and_of_anything_else_a_clear_no() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        thumbnail = "/_matrix/client/v1/media/thumbnail"
        place = await upload(ann, b"PNG")
        response = await ann.ask("GET", f"{thumbnail}/{place}?width=32&height=32")
        assert (response.status, await body_of(response)) == (200, b"PNG")
        other = await upload(ann, b"secret", "application/octet-stream")
        assert await ann.refused("GET", f"{thumbnail}/{other}?width=32&height=32") == (400, "M_UNKNOWN")
        assert (await ann.refused("GET", f"{thumbnail}/{place}?width=32"))[0] == 400


async def test_the_old_downloads_are_closed_and_hostile_names_lead_nowhere() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        place = await upload(ann, b"x")
        assert await ann.refused("GET", f"/_matrix/media/v3/download/{place}") == (404, "M_NOT_FOUND")
        for hostile in ("box.test/..%2f..%2fpasswd", "box.test/a%00b", "..%2f/x", "%5b::1/x"):
            status, _ = await ann.refused("GET", f"{DOWNLOAD}/{hostile}")
            assert status in (400, 404)
        anonymous = await family.door.answer(Request("GET", f"{DOWNLOAD}/{place}"))
        assert anonymous.status == 401
