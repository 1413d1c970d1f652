"""The operator of a house whose state is open in this process, whether or not its doors are."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, assert_never

from relay.admin import moving as moves
from relay.admin.moving import Moving
from relay.admin.requests import (
    AddUser,
    CheckOwner,
    CreateBackup,
    CreateInvite,
    DeactivateUser,
    Doctor,
    GivePassphrase,
    ListUsers,
    Request,
    Restart,
    SetPassword,
    ShowStandbyKey,
    Status,
    Stop,
)
from relay.base.errors import ConflictError
from relay.base.ids import UserId


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """One account of this household."""

    user: UserId
    admin: bool
    active: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` noticed: `level` is fault, warning or note."""

    level: str
    what: str
    next_step: str


class People(Protocol):
    """The household, as far as an operator may change it."""

    async def add(self, localpart: str, password: str, *, admin: bool) -> UserId:
        """Make an account.

        Raises:
            ConflictError: the name is taken.
            InvalidInputError: it cannot be a name.
        """
        ...

    async def listed(self) -> list[Person]:
        """Return everybody, deactivated accounts included."""
        ...

    async def set_password(self, localpart: str, password: str) -> None:
        """Replace a password and sign her devices out.

        Raises:
            NotFoundError: nobody has this name.
        """
        ...

    async def deactivate(self, localpart: str) -> None:
        """Close an account for good.

        Raises:
            NotFoundError: nobody has this name.
        """
        ...

    async def is_owners(self, password: str) -> bool:
        """Return whether this is the password of somebody who looks after the box."""
        ...

    async def invite(self) -> tuple[str, int]:
        """Return a single-use token and when it ends, in milliseconds since 1970."""
        ...


class Report(Protocol):
    """What only the house itself knows about its health."""

    async def status(self) -> dict[str, Any]:
        """Return what runs and what is queued, as JSON values with units in their names."""
        ...

    async def findings(self) -> list[Finding]:
        """Return what is wrong, worst first."""
        ...


class Backups(Protocol):
    """Whoever copies the house."""

    async def create(self, request: CreateBackup) -> dict[str, Any]:
        """Write a backup into the pipe of `request`; return what it holds.

        Raises:
            ConflictError: another one is under way.
            UnreachableError: nobody reads the pipe any more.
        """
        ...

    def status(self) -> dict[str, Any]:
        """Return whether one is under way, and how far."""
        ...


class HouseOperator:
    """Carries out requests; `stop` is None where nothing runs that could stop."""

    def __init__(
        self,
        people: People,
        report: Report,
        *,
        stop: Callable[[bool], None] | None,
        backups: Backups | None = None,
        moving: Moving | None = None,
        standby_key: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._moving = moving
        self._standby_key = standby_key
        self._people = people
        self._report = report
        self._backups = backups
        self._stop = stop

    async def carry_out(self, request: Request) -> dict[str, Any]:
        """Return the result of `request`; see `relay.admin.operator.Operator`."""
        match request:
            case Status():
                return {"running": self._stop is not None, **await self._report.status(), **self._backup_status()}
            case Doctor():
                return {"findings": [dataclasses.asdict(finding) for finding in await self._report.findings()]}
            case CreateBackup():
                return await self._create_backup(request)
            case Restart() | Stop():
                return self._end(restart=isinstance(request, Restart))
            case AddUser() | ListUsers() | SetPassword() | DeactivateUser() | CreateInvite() | CheckOwner():
                return await self._change_people(request)
            case _:
                return await self._move(request)

    async def _move(self, request: moves.MovingRequest | ShowStandbyKey | GivePassphrase) -> dict[str, Any]:
        if isinstance(request, GivePassphrase):
            raise ConflictError("the box is not locked: it has its key")
        if isinstance(request, ShowStandbyKey):
            return {"line": await self._show_standby_key()}
        if self._moving is None:
            raise ConflictError("nobody moves from here or to here")
        return await moves.carry_out(self._moving, request)

    async def _show_standby_key(self) -> str:
        if self._standby_key is None:
            raise ConflictError("nothing follows from here")
        return await self._standby_key()

    async def _change_people(
        self, request: AddUser | ListUsers | SetPassword | DeactivateUser | CreateInvite | CheckOwner
    ) -> dict[str, Any]:
        match request:
            case CreateInvite():
                token, expires_ms = await self._people.invite()
                return {"token": token, "expires_ms": expires_ms}
            case CheckOwner(password):
                return {"owner": await self._people.is_owners(password)}
            case AddUser(name, password, admin):
                return {"user": await self._people.add(name, password, admin=admin)}
            case ListUsers():
                return {"users": [dataclasses.asdict(person) for person in await self._people.listed()]}
            case SetPassword(name, password):
                await self._people.set_password(name, password)
            case DeactivateUser(name):
                await self._people.deactivate(name)
            case _:
                assert_never(request)
        return {"user": request.name}

    async def _create_backup(self, request: CreateBackup) -> dict[str, Any]:
        if self._backups is None:
            raise ConflictError("nothing here can be backed up")
        return await self._backups.create(request)

    def _backup_status(self) -> dict[str, Any]:
        return {} if self._backups is None else {"backup": self._backups.status()}

    def _end(self, *, restart: bool) -> dict[str, Any]:
        if self._stop is None:
            raise ConflictError("the box is not running")
        self._stop(restart)
        return {"stopping": True}
