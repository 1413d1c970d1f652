"""A box with a large room, for somebody elsewhere to join."""

from collections.abc import Sequence
from pathlib import Path

import trio

from relay.app.house import Flash, open_house
from relay.app.network import open_network
from relay.base import log
from relay.base.config import load
from relay.base.ids import RoomId, UserId
from relay.cli.bench.meter import Meter, MeteredFiles, MeteredWorkers
from relay.cli.bench.servers import BoxServer
from relay.rooms.matrix.deciding.writer import InitialEvent, RoomPlan


class CrowdedBox(BoxServer):
    """A box of this code with one public room of `members` people, all its own."""

    members = 1_000
    room = ""

    def prepare(self, trusted: Sequence[Path]) -> None:
        """Provision, and let everybody join; nothing waits for flash."""
        super().prepare(trusted)
        log.configure(level="error")
        self.room = trio.run(self._gather, self.folder / "state")

    async def _gather(self, state: Path) -> RoomId:
        meter = Meter()
        flash = Flash(files=MeteredFiles(meter, lazy=True), workers=MeteredWorkers(meter))
        people = [UserId(f"@member{number}:{self.name}") for number in range(self.members)]
        async with open_house(state, load(state), flash) as house:
            network = await open_network(house)
            join_rules = InitialEvent("m.room.join_rules", "", {"join_rule": "public"})
            room = await network.writer.create(people[0], RoomPlan(version="12", events=[join_rules]))
            for person in people[1:]:
                content = {"membership": "join", "displayname": f"A member called {person}"}
                await network.writer.send(room, person, "m.room.member", content, state_key=person)
        return room
