"""Whatever apps do in whatever order: by sync and pages together they see every event exactly once and in order."""

import functools
from urllib.parse import quote

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.family import App, open_family


class Reader:
    """An app that keeps a timeline for each room the way the specification tells it to."""

    def __init__(self, app: App, limit: int) -> None:
        self.app = app
        self.since: str | None = None
        self.filter = f'{{"room": {{"timeline": {{"limit": {limit}}}}}}}'
        self.rooms: dict[str, list[str]] = {}
        self.state: dict[str, dict[tuple[str, str], object]] = {}
        self.counted: dict[str, int] = {}

    async def sync(self) -> None:
        before = self.since
        answer = await self.app.sync(before, filter=self.filter)
        self.since = answer["next_batch"]
        for room, section in answer["rooms"].get("join", {}).items():
            timeline = section["timeline"]
            fresh = [event["event_id"] for event in timeline["events"]]
            known = self.rooms.setdefault(room, [])
            gap = await self._fill(room, timeline["prev_batch"], before) if timeline["limited"] else []
            known += [*gap, *fresh]
            held = self.state.setdefault(room, {})
            for event in [*section["state"]["events"], *timeline["events"]]:
                if "state_key" in event:
                    held[event["type"], event["state_key"]] = event["content"]
            self.counted[room] = section["unread_notifications"]["notification_count"]

    async def _fill(self, room: str, start: str, end: str | None) -> list[str]:
        found: list[str] = []
        token: str | None = start
        while token is not None:
            to = f"&to={end}" if end is not None and room in self.state else ""
            page = await self.app.get(f"/rooms/{quote(room)}/messages?dir=b&limit=2&from={token}{to}")
            found += [event["event_id"] for event in page["chunk"]]
            token = page.get("end")
        return found[::-1]


ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("name"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("sync"), st.integers(0, 1), st.just(0)),
)


async def _play(limit: int, actions: list[tuple[str, int, int]]) -> None:
    async with open_family() as family:
        apps = [await family.app("ann"), await family.app("bob")]
        readers = [Reader(app, limit) for app in apps]
        rooms = [await apps[0].create_room(preset="public_chat", room_version="11") for _ in range(2)]
        levels = {"users": {apps[0].user: 100, apps[1].user: 100}}
        for room in rooms:
            await apps[1].join(room)
            await apps[0].put(f"/rooms/{quote(room)}/state/m.room.power_levels", levels)
        for number, (action, who, where) in enumerate(actions):
            if action == "say":
                await apps[who].say(rooms[where], str(number))
            elif action == "name":
                await apps[who].put(f"/rooms/{quote(rooms[where])}/state/m.room.name", {"name": str(number)})
            else:
                await readers[who].sync()
        for reader in readers:
            await reader.sync()
            for room in rooms:
                everything = await reader.app.get(f"/rooms/{quote(room)}/messages?dir=f&limit=250")
                assert reader.rooms[room] == [event["event_id"] for event in everything["chunk"]]
                now = await reader.app.get(f"/rooms/{quote(room)}/state")
                assert reader.state[room] == {(one["type"], one["state_key"]): one["content"] for one in now}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.lists(ACTIONS, max_size=25))
def test_random_sends_syncs_and_pages_show_every_event_once_and_in_order(
    limit: int, actions: list[tuple[str, int, int]]
) -> None:
    trio.run(functools.partial(_play, limit, actions))


async def test_after_a_long_absence_two_hundred_messages_in_several_rooms_are_all_there() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        reader = Reader(bob, 10)
        rooms = [await ann.create_room(preset="public_chat") for _ in range(4)]
        for room in rooms:
            await bob.join(room)
        await reader.sync()
        said = {room: [await ann.say(room, str(number)) for number in range(50)] for room in rooms}
        await reader.sync()
        for room in rooms:
            assert reader.rooms[room][-50:] == said[room]
            assert len(set(reader.rooms[room])) == len(reader.rooms[room])
            assert reader.counted[room] == 50
