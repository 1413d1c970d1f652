"""A person moves: what the box is asked, one page after another, whether it runs or not."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay.admin.client import NotRunningError, ask
from relay.admin.operator import Operator
from relay.admin.requests import parse_request
from relay.base.config import load
from relay.cli.luggage import Contents, Luggage, LuggageWriter
from relay.delivery.moving import parcel

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
Tell = Callable[[str], None]
# A large room takes its time to join.
_ANSWER_S = 900.0
# Only the newest counts; a person has a handful.
_BACKUPS = 1000


@dataclass(frozen=True, slots=True)
class Account:
    """Where to move in: a name (empty: the old one), and a password that makes the account if there is none."""

    name: str = ""
    password: str = field(default="", repr=False)


@dataclass(slots=True)
class Departure:
    """What was packed.

    Attributes:
        rooms: for each room its card, and `outcome` and `why` of the invitation where one was asked for.
    """

    contents: Contents
    size_bytes: int
    rooms: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Arrival:
    """What came of what was packed.

    Attributes:
        user: the account on this box.
        former: the account on the old one.
        made: whether it was made for this.
        secrets: whether secret storage and key backups came along.
        counts: how many things came (by kind), were `kept` as they are here, or `left` out.
        rooms: for each room its card with `outcome` and `why`.
    """

    user: str
    former: str
    made: bool
    secrets: bool
    counts: dict[str, int] = field(default_factory=dict)
    rooms: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[Ask]:
    """Give a way to ask the running box, or the state itself, which is held meanwhile."""

    async def ask_box(fields: dict[str, Any]) -> dict[str, Any]:
        return await trio.to_thread.run_sync(partial(ask, folder, fields, timeout_s=_ANSWER_S))

    try:
        await ask_box({"verb": "status"})
    except NotRunningError:
        from relay.cli.house import open_house

        async with open_house(folder, load(folder)) as operator:
            yield partial(ask_operator, operator)
    else:
        yield ask_box


async def ask_operator(operator: Operator, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request that `fields` spell."""
    return await operator.carry_out(parse_request(fields))


async def depart(question: Ask, name: str, writer: LuggageWriter, invited: str, tell: Tell) -> Departure:
    """Pack the account `name`, and let it invite `invited`, its new one, where that is not empty.

    Raises:
        RelayError: there is no such account, or the box failed; nothing is left of the file.
    """
    try:
        after = ""
        while True:
            fields = {"verb": "account_pack", "name": name, **({"after": after} if after else {})}
            answer = await question(fields)
            writer.add(parcel.unwrap(answer["records"]))
            after = answer["after"]
            if not after:
                break
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    departure = Departure(writer.contents, writer.size_bytes)
    for card in writer.contents.rooms:
        departure.rooms.append({**card, **await _invite(question, name, card, invited, tell)})
    return departure


async def _invite(question: Ask, name: str, card: dict[str, Any], invited: str, tell: Tell) -> dict[str, Any]:
    if not invited or card.get("membership") != "join":
        return {}
    answer = await question({"verb": "account_invite", "name": name, "room": card["room"], "target": invited})
    tell(f"{answer['outcome']}: {card.get('name') or card['room']}")
    return answer


async def arrive(question: Ask, luggage: Luggage, account: Account, tell: Tell) -> Arrival:
    """Unpack what was found whole into `account` and join its rooms again.

    Raises:
        RelayError: there is no such account and no password to make it with, or the box failed half-way: the same
            again goes on.
    """
    contents = luggage.contents
    name = account.name or contents.user.removeprefix("@").partition(":")[0]
    backups = [one.hex() for one in contents.backups[-_BACKUPS:]]
    about = json.dumps({"default_key": contents.default_key, "backups": backups})
    fields = {"verb": "account_move_in", "name": name, "secrets": about}
    ready = await question({**fields, **({"password": account.password} if account.password else {})})
    arrival = Arrival(ready["user"], contents.user, ready["made"], ready["secrets"])
    for page in luggage.pages():
        unpack = {"verb": "account_unpack", "name": name, "records": parcel.wrap(page), "secrets": ready["secrets"]}
        for kind, count in (await question(unpack)).items():
            arrival.counts[kind] = arrival.counts.get(kind, 0) + count
    arrival.rooms = [await _rejoin(question, name, card, tell) for card in contents.rooms]
    if any(room["outcome"] == "joined" for room in arrival.rooms):
        # Being in one room, a space most of all, may be what another one asks for.
        arrival.rooms = [
            await _rejoin(question, name, room, tell) if _is_restricted(room) else room for room in arrival.rooms
        ]
    return arrival


async def _rejoin(question: Ask, name: str, card: dict[str, Any], tell: Tell) -> dict[str, Any]:
    answer = await question({"verb": "account_rejoin", "name": name, "card": json.dumps(card)})
    tell(f"{answer['outcome']}: {card.get('name') or card['room']}")
    return {**card, **answer}


def _is_restricted(room: dict[str, Any]) -> bool:
    return room["outcome"] == "invite" and room.get("join_rule") in ("restricted", "knock_restricted")
