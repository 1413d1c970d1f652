"""A standby's target in a bucket of an S3-compatible store: one object an entry, sorted by their keys.

Source: Amazon S3 API Reference: PutObject, GetObject, ListObjectsV2, DeleteObjects. Buckets are named in the path, as
every compatible store takes it.
"""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NoReturn
from xml.sax.saxutils import escape

import trio

from relay.base.errors import NotFoundError, PeerRefusedError, UnreachableError
from relay.base.limits import KIB, MAX_STANDBY_LIST_BYTES, MIB, STANDBY_ANSWER_TIMEOUT_S
from relay.base.lone_errors import unwrapped
from relay.base.off_box import BucketPlace
from relay.delivery.standby.listing import Listing, read_error, read_listing
from relay.transport.client import ClientResponse, HttpClient
from relay.transport.destination import parse_url
from relay.transport.wire.sigv4 import AccessKey, encode_path, encode_query, sign

_PAGE_ENTRIES = 32
_AT_ONCE = 4
_DELETED_AT_ONCE = 1000
_ONLY = "only"


class BucketTarget:
    """Implements `Target`; keys are `prefix/log/entry`."""

    piece_bytes = 512 * KIB
    # A request costs money at some stores: two a second while there is something to say.
    pause_s = 0.5
    beat_s = 60.0

    def __init__(self, client: HttpClient, place: BucketPlace, access: AccessKey) -> None:
        self._client = client
        self._place = place
        self._access = access
        endpoint = place.endpoint or f"https://s3.{place.region}.amazonaws.com"
        self._destination, _ = parse_url(endpoint)
        self._root = f"{place.prefix}/" if place.prefix else ""

    async def append(self, log: str, entry: str, data: bytes) -> None:
        """Put an object; see `Target`."""
        await self._ask("PUT", f"{log}/{entry}", body=data)

    async def replace(self, log: str, data: bytes) -> None:
        """Put the one object of the log; see `Target`."""
        await self._ask("PUT", f"{log}/{_ONLY}", body=data)

    async def page(self, log: str, mark: str) -> tuple[list[bytes], str]:
        """Get the next objects; see `Target`."""
        listing = await self._list(f"{log}/", after=mark, most=_PAGE_ENTRIES)
        found: dict[str, bytes] = {}
        places = trio.CapacityLimiter(_AT_ONCE)

        async def fetch(key: str) -> None:
            async with places:
                found[key] = await self._get(key)

        async with unwrapped(), trio.open_nursery() as nursery:
            for key in listing.keys:
                nursery.start_soon(fetch, key)
        return [found[key] for key in listing.keys], listing.keys[-1] if listing.keys else mark

    async def last(self, log: str) -> bytes | None:
        """Get the last object; see `Target`."""
        last, listing = "", await self._list(f"{log}/")
        while listing.keys:
            last = listing.keys[-1]
            listing = await self._list(f"{log}/", after=last) if listing.more else Listing()
        return await self._get(last) if last else None

    async def names(self, within: str) -> list[str]:
        """List the folders below; see `Target`."""
        prefix = f"{within}/" if within else ""
        found: list[str] = []
        listing = await self._list(prefix, delimiter="/")
        while True:
            found += [folder.removeprefix(self._root + prefix).rstrip("/") for folder in listing.folders]
            if not listing.more:
                return sorted(found)
            # No name comes after the last folder's own keys and before the next one.
            listing = await self._list(prefix, after=listing.folders[-1] + "\x7f", delimiter="/")

    async def remove(self, log: str) -> None:
        """Delete all objects below; see `Target`."""
        while True:
            listing = await self._list(f"{log}/", most=_DELETED_AT_ONCE)
            if not listing.keys:
                return
            await self._delete(listing.keys)

    async def _delete(self, keys: Sequence[str]) -> None:
        objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = [("content-md5", digest), ("content-type", "application/xml")]
        answer = await self._send("POST", "", query={"delete": ""}, headers=headers, body=body)
        if b"<Error>" in answer.body:
            raise PeerRefusedError(f"the store deletes nothing: {read_error(answer.body)}")

    async def _list(self, within: str, *, after: str = "", delimiter: str = "", most: int = 1000) -> Listing:
        query = {"list-type": "2", "prefix": self._root + within, "max-keys": str(most)}
        query |= {"start-after": after} if after else {}
        query |= {"delimiter": delimiter} if delimiter else {}
        return read_listing((await self._send("GET", "", query=query)).body)

    async def _get(self, key: str) -> bytes:
        answer = await self._send("GET", key)
        return answer.body

    async def _ask(self, method: str, name: str, *, body: bytes) -> None:
        await self._send(method, self._root + name, body=body)

    async def _send(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> ClientResponse:
        path = f"/{self._place.bucket}/{key}" if key else f"/{self._place.bucket}"
        signed = sign(
            self._access,
            method,
            path,
            query=query or {},
            headers=[("host", self._destination.host_header), *headers],
            body=body,
            region=self._place.region,
            moment=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        )
        target = encode_path(path) + (f"?{encode_query(query)}" if query else "")
        ask = partial(self._client.request, self._destination, method, target, headers=[*headers, *signed], body=body)
        answer = await ask(timeout_s=STANDBY_ANSWER_TIMEOUT_S, limit_bytes=max(MAX_STANDBY_LIST_BYTES, 2 * MIB))
        if answer.status not in (200, 204):
            _refuse(answer)
        return answer


def _refuse(answer: ClientResponse) -> NoReturn:
    said = f"{answer.status} {read_error(answer.body)}"
    if answer.status in (429, 500, 502, 503, 504):
        raise UnreachableError(f"the store answered {said}")
    if answer.status == 404 and "NoSuchKey" in said:
        raise NotFoundError("the object is gone")
    raise PeerRefusedError(f"the store answered {said}", status=answer.status)
