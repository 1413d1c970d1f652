from relay.base.ids import ServerName
from relay.rooms.matrix.storage import departures
from tests.fakes.boxes import Town


async def test_what_is_said_among_ourselves_leaves_no_trace_for_the_outboxes() -> None:
    town = Town()
    async with town.box("ada.example") as ada:
        alice = ada.user("alice")
        room = await ada.create(alice)
        await ada.say(room, alice, "hello me")
        await ada.set_membership(room, alice, ada.user("adam"), "ban")
        assert await ada.ledger.read(departures.newest) == 0


async def test_each_departure_names_the_servers_that_were_there_before_it() -> None:
    town = Town()
    async with town.box("ada.example") as ada, town.box("bob.example") as bob, town.box("cia.example") as cia:
        alice, bert, carl = ada.user("alice"), bob.user("bert"), cia.user("carl")
        room = await ada.create(alice)
        await bob.joining.join(bert, room, [ada.name], {})
        await ada.say(room, alice, "hello bob")
        await cia.joining.join(carl, room, [ada.name], {})
        await ada.say(room, alice, "hello all")
        await ada.set_membership(room, alice, carl, "leave")
        await ada.say(room, alice, "bye carl")
        found = await ada.ledger.read(departures.recipients, 0, 100)
        others = [(departure.event.content.get("body"), sorted(servers - {ada.name})) for departure, servers in found]
        both = [ServerName("bob.example"), ServerName("cia.example")]
        # Where carl has gone, what he was owed before is no longer his; that he was taken out is.
        assert [servers for body, servers in others if body == "hello bob"] == [both[:1]]
        assert [servers for body, servers in others if body == "bye carl"] == [both[:1]]
        assert others[-2] == (None, both)
        for server in both:
            mine = await ada.ledger.read(departures.since, server, 0, 100)
            named = [departure.number for departure, servers in found if server in servers]
            assert [departure.number for departure in mine] == named
