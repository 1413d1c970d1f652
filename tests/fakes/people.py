"""A household in memory, for the operator: the same refusals as the real one."""

from typing import Any

from relay.admin.operations import Finding, Person
from relay.base.errors import ConflictError, NotFoundError
from relay.base.ids import ServerName, UserId, make_user_id


class MemoryPeople:
    def __init__(self, server: str = "box.example") -> None:
        self.server = ServerName(server)
        self.passwords: dict[UserId, str] = {}
        self.people: dict[UserId, Person] = {}

    async def add(self, localpart: str, password: str, *, admin: bool) -> UserId:
        user = make_user_id(localpart, self.server)
        if user in self.people:
            raise ConflictError("the name is taken")
        self.people[user] = Person(user, admin, active=True)
        self.passwords[user] = password
        return user

    async def listed(self) -> list[Person]:
        return list(self.people.values())

    async def set_password(self, localpart: str, password: str) -> None:
        self.passwords[self._existing(localpart)] = password

    async def deactivate(self, localpart: str) -> None:
        user = self._existing(localpart)
        self.people[user] = Person(user, admin=False, active=False)

    async def is_owners(self, password: str) -> bool:
        return any(
            person.admin and person.active and self.passwords[user] == password for user, person in self.people.items()
        )

    async def invite(self) -> tuple[str, int]:
        return "token-1", 1_800_000_000_000

    def _existing(self, localpart: str) -> UserId:
        user = make_user_id(localpart, self.server)
        if user not in self.people:
            raise NotFoundError("nobody has this name")
        return user


class MemoryReport:
    async def status(self) -> dict[str, Any]:
        return {"server": "box.example", "listening": {"client": "http://127.0.0.1:4711"}, "outboxes": []}

    async def findings(self) -> list[Finding]:
        return [Finding("note", "all is quiet", "nothing to do")]
