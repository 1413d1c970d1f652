"""A matrix-nio client driven line by line: one JSON request a line on standard input, one JSON answer a line.

Runs in the peer's own environment, never in the product's. {"id": 1, "do": "login", "with": {...}} is answered by
{"id": 1, "result": ...} or {"id": 1, "error": "..."}.
"""

import asyncio
import dataclasses
import io
import json
import logging
import sys
from typing import Any

import nio
from nio.crypto import decrypt_attachment

logging.disable(logging.CRITICAL)


class Driver:
    def __init__(self) -> None:
        self.client: nio.AsyncClient
        self.seen: list[dict[str, Any]] = []
        self.undecrypted = 0

    async def login(self, base: str, user: str, password: str, store: str) -> dict[str, str]:
        config = nio.AsyncClientConfig(store_sync_tokens=False, encryption_enabled=True, request_timeout=30)
        self.client = nio.AsyncClient(base, user, store_path=store, config=config)
        self._good(await self.client.login(password, device_name="nio"))
        self.client.add_event_callback(self._note, nio.Event)
        if self.client.should_upload_keys:
            self._good(await self.client.keys_upload())
        return {"user": self.client.user_id, "device": self.client.device_id, "token": self.client.access_token}

    async def _note(self, room: nio.MatrixRoom, event: nio.Event) -> None:
        if isinstance(event, nio.MegolmEvent):
            self.undecrypted += 1
            return
        self.seen.append(
            {
                "room": room.room_id,
                "event": event.event_id,
                "sender": event.sender,
                "type": event.source.get("type"),
                "content": event.source.get("content"),
                "encrypted": bool(event.decrypted),
            }
        )

    async def sync(self, timeout_ms: int = 0, full_state: bool = False) -> dict[str, Any]:
        answer = self._good(await self.client.sync(timeout=timeout_ms, full_state=full_state))
        await self._crypto_chores()
        return {
            "next": answer.next_batch,
            "join": list(answer.rooms.join),
            "invite": list(answer.rooms.invite),
            "leave": list(answer.rooms.leave),
            "limited": [room for room, info in answer.rooms.join.items() if info.timeline.limited],
        }

    async def _crypto_chores(self) -> None:
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        if self.client.should_query_keys:
            await self.client.keys_query()
        if self.client.should_claim_keys:
            await self.client.keys_claim(self.client.get_users_for_key_claiming())
        await self.client.send_to_device_messages()

    async def wait_for(self, body: str, timeout_s: float = 20) -> dict[str, Any]:
        """Sync until an event whose content's body (or any content text) is `body` was decrypted and seen."""
        async with asyncio.timeout(timeout_s):
            while True:
                for event in self.seen:
                    if event["content"] and event["content"].get("body") == body:
                        return event
                await self.sync(timeout_ms=1000)

    async def wait_for_type(self, kind: str, timeout_s: float = 20) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                for event in self.seen:
                    if event["type"] == kind:
                        return event
                await self.sync(timeout_ms=1000)

    async def wait_for_invite(self, room: str, timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while room not in self.client.invited_rooms:
                await self.sync(timeout_ms=1000)

    async def wait_for_room(self, room: str, timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while room not in self.client.rooms:
                await self.sync(timeout_ms=1000)

    async def wait_for_member(self, room: str, user: str, timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while room not in self.client.rooms or user not in self.client.rooms[room].users:
                await self.sync(timeout_ms=1000)

    async def history(self, room: str) -> list[str]:
        """Page back to the start of the room; return the bodies that could be decrypted or needed no decrypting."""
        bodies: list[str] = []
        start = None
        while True:
            page = self._good(await self.client.room_messages(room, start, limit=100))
            texts = [event for event in page.chunk if isinstance(event, nio.RoomMessageText)]
            bodies += [event.body for event in texts]
            if not page.chunk or not page.end or page.end == start:
                return bodies[::-1]
            start = page.end

    async def events(self) -> list[dict[str, Any]]:
        return self.seen

    async def create_room(self, encrypted: bool = False, invite: list[str] | None = None, version: str | None = None):
        initial = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
        answer = await self.client.room_create(
            invite=invite or [], initial_state=initial if encrypted else [], room_version=version
        )
        return self._good(answer).room_id

    async def join(self, room: str) -> str:
        return self._good(await self.client.join(room)).room_id

    async def send(self, room: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        await self._crypto_chores()
        answer = await self.client.room_send(room, kind, content, ignore_unverified_devices=True)
        return self._good(answer).event_id

    async def send_file(self, room: str, text: str, encrypted: bool) -> str:
        data = text.encode()
        answer, keys = await self.client.upload(
            io.BytesIO(data), content_type="text/plain", filename="note.txt", encrypt=encrypted, filesize=len(data)
        )
        uri = self._good(answer).content_uri
        place = {"file": {**keys, "url": uri, "mimetype": "text/plain"}} if encrypted else {"url": uri}
        return await self.send(
            room,
            {"msgtype": "m.file", "body": "note.txt", "info": {"size": len(data), "mimetype": "text/plain"}, **place},
        )

    async def read_file(self, content: dict[str, Any]) -> str:
        file = content.get("file")
        answer = self._good(await self.client.download(file["url"] if file else content["url"]))
        if not file:
            return answer.body.decode()
        return decrypt_attachment(answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"]).decode()

    async def close(self) -> None:
        await self.client.close()

    @staticmethod
    def _good(answer: Any) -> Any:
        if isinstance(answer, nio.ErrorResponse):
            raise RuntimeError(f"{answer.status_code} {answer.message}")  # noqa: TRY004 - the client refused, no type is wrong
        return answer


async def main() -> None:
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            result = await getattr(driver, request["do"])(**request["with"])
            answer["result"] = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result
        except Exception as error:  # noqa: BLE001 - the test on the other side decides
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


asyncio.run(main())
