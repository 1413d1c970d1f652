"""A clock that is years off, or jumps by years: a board without one of its own begins in 1970."""

import copy

import pytest

from relay.base.ids import DeviceId, UserId
from relay.base.limits import ACCESS_TOKEN_LIFE_MS
from relay.federation.matrix.origin_rate import OriginRate
from relay.household import accounts, invitations, sessions
from relay.household.faults import UnknownTokenError
from relay.household.sessions import Sessions
from relay.household.tables import TABLES as HOUSEHOLD_TABLES
from relay.household.tokens import draw_tokens
from relay.rooms.matrix import signing_key
from relay.rooms.matrix.storage import departures, inbox_book
from relay.rooms.matrix.tables import TABLES as ROOM_TABLES
from tests.fakes.boxes import Town
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import memory_ledger

pytestmark = pytest.mark.usefixtures("autojump_clock")

YEAR_MS = 365 * 86_400_000
NOW_MS = 1_800_000_000_000
JUMPS = [-NOW_MS // YEAR_MS, -10, 10, 50]


@pytest.mark.parametrize("years", JUMPS)
async def test_apps_stay_signed_in_or_come_back_by_themselves(years: int) -> None:
    clock, user = FakeClock(NOW_MS), UserId("@ann:home.example")
    async with memory_ledger(HOUSEHOLD_TABLES) as ledger:
        await ledger.run(accounts.create, user, "hash", NOW_MS)
        lasting, short = draw_tokens(), draw_tokens(refreshable_until_ms=NOW_MS + ACCESS_TOKEN_LIFE_MS)
        for device, tokens in (("ONE", lasting), ("TWO", short)):
            await ledger.run(sessions.open_session, user, DeviceId(device), None, NOW_MS, tokens)
        clock.now_ms += years * YEAR_MS
        assert (await Sessions(ledger, clock).authenticate(lasting.access)).user == user
        if years > 0:
            # Softly: the app keeps what it has and asks for new tokens.
            with pytest.raises(UnknownTokenError, match="expired"):
                await Sessions(ledger, clock).authenticate(short.access)
        assert short.refresh is not None
        fresh = draw_tokens(refreshable_until_ms=clock.now_ms + ACCESS_TOKEN_LIFE_MS)
        await ledger.run(sessions.refresh, short.refresh, fresh)
        assert (await Sessions(ledger, clock).authenticate(fresh.access)).user == user
        clock.now_ms -= years * YEAR_MS
        assert (await Sessions(ledger, clock).authenticate(lasting.access)).user == user


@pytest.mark.parametrize("years", JUMPS)
async def test_an_invitation_of_the_family_holds_again_when_the_clock_is_right_again(years: int) -> None:
    async with memory_ledger(HOUSEHOLD_TABLES) as ledger:
        await ledger.run(invitations.create, "token", NOW_MS, 86_400_000)
        assert await ledger.read(invitations.is_valid, "token", NOW_MS + years * YEAR_MS) == (years < 0)
        assert await ledger.read(invitations.is_valid, "token", NOW_MS + 1000)


@pytest.mark.parametrize("years", JUMPS)
async def test_the_signing_key_is_never_lost_and_old_ones_stay_published(years: int) -> None:
    async with memory_ledger(ROOM_TABLES) as ledger:
        first = await signing_key.own_key(ledger, NOW_MS, max_age_ms=YEAR_MS)
        moved = await signing_key.own_key(ledger, NOW_MS + years * YEAR_MS, max_age_ms=YEAR_MS)
        back = await signing_key.own_key(ledger, NOW_MS, max_age_ms=YEAR_MS)
        old = [key.key_id for key, _ in await ledger.read(signing_key.old_keys)]
        assert back.key_id == moved.key_id
        assert (moved.key_id == first.key_id) == (years < 0)
        assert old == ([] if years < 0 else [first.key_id])


@pytest.mark.parametrize("years", JUMPS)
def test_a_stranger_may_ask_again_after_a_second_wherever_the_clock_is(years: int) -> None:
    clock = FakeClock(NOW_MS, tick_ms=0)
    rate = OriginRate(per_s=1, burst=2, clock=clock)
    rate.take("far.example")
    clock.now_ms += years * YEAR_MS
    rate.take("far.example")
    clock.now_ms += 1000
    rate.take("far.example")


@pytest.mark.parametrize("years", JUMPS)
async def test_what_waits_in_an_inbox_waits_on(years: int) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), room, [here.name])
        newest = await here.ledger.read(departures.newest)
        await here.say(room, here.user("anna"), "first")
        await here.say(room, here.user("anna"), "second")
        _, late = await here.ledger.read(departures.since, there.name, newest, 10)
        town.asleep.add(here.name)
        await there.receive(here.name, [copy.deepcopy(dict(late.event.raw))])
        assert await there.ledger.read(inbox_book.rooms)
        town.clock.now_ms += years * YEAR_MS
        assert await there.settle() == 1
        town.asleep.clear()
        assert await there.settle() == 0
        assert await there.bodies(room) == ["first", "second"]
