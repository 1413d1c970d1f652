"""Requests and refusals; what a store makes of them is in tests/interop/test_standby.py."""

import pytest
import trio

from relay.base.errors import NotFoundError, PeerRefusedError, UnreachableError
from relay.base.off_box import BucketPlace
from relay.delivery.standby.bucket import BucketTarget
from relay.transport.message import Request, Response
from relay.transport.wire.sigv4 import AccessKey
from tests.fakes.network import MemoryNetwork

PLACE = BucketPlace("family", "a", "http://store.home:9000", "us-east-1")
ACCESS = AccessKey("KEYID", "hush")


class Store:
    """Answers with what is next in `answers`, and keeps what was asked."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, bytes, str]] = []

    async def __call__(self, request: Request) -> Response:
        body = await request.body(1 << 20)
        self.asked.append((request.method, request.target, body, request.headers.get("authorization") or ""))
        status, answer = self.answers.pop(0)
        return Response(status, [], answer)


async def ask(store: Store, nursery: trio.Nursery) -> BucketTarget:
    network = MemoryNetwork(nursery)
    network.serve("store.home", 9000, store)
    return BucketTarget(await network.client(), PLACE, ACCESS)


async def test_an_entry_is_one_signed_put(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        store = Store((200, b""), (200, b""))
        target = await ask(store, nursery)
        await target.append("b0/frames/01", "0001", b"data")
        await target.replace("b0/beat", b"beat")
        nursery.cancel_scope.cancel()
    assert [asked[:3] for asked in store.asked] == [
        ("PUT", "/family/a/b0/frames/01/0001", b"data"),
        ("PUT", "/family/a/b0/beat/only", b"beat"),
    ]
    assert all(asked[3].startswith("AWS4-HMAC-SHA256 Credential=KEYID/") for asked in store.asked)
    assert "hush" not in repr(store.asked)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", PeerRefusedError),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", PeerRefusedError),
        (404, b"<Error><Code>NoSuchKey</Code></Error>", NotFoundError),
        (503, b"<Error><Code>SlowDown</Code></Error>", UnreachableError),
        (500, b"", UnreachableError),
        (301, b"", PeerRefusedError),
    ],
)
async def test_refusals_say_what_the_store_said(
    status: int, body: bytes, kind: type[Exception], autojump_clock: object
) -> None:
    async with trio.open_nursery() as nursery:
        target = await ask(Store((status, body)), nursery)
        with pytest.raises(kind) as caught:
            await target.append("b0/frames/01", "0001", b"data")
        assert body.decode().partition("</")[0].rpartition(">")[2] in str(caught.value) or kind is NotFoundError
        nursery.cancel_scope.cancel()


async def test_a_store_that_deletes_nothing_is_refused(autojump_clock: object) -> None:
    listing = b"<ListBucketResult><Contents><Key>a/b0/1</Key></Contents></ListBucketResult>"
    denied = b"<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>"
    async with trio.open_nursery() as nursery:
        target = await ask(Store((200, listing), (200, denied)), nursery)
        with pytest.raises(PeerRefusedError, match="AccessDenied"):
            await target.remove("b0")
        nursery.cancel_scope.cancel()
