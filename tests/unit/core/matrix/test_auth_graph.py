from collections.abc import Iterable

import pytest

from relay.base.ids import EventId
from relay.core.matrix.auth_graph import AuthGraph
from relay.core.matrix.events import Event
from tests.unit.core.matrix.rooms import ALICE, Room


class Source:
    """A chain: create <- alice <- levels <- topic <- (message), counting how often it is asked."""

    def __init__(self, version: str = "12") -> None:
        room = Room(version)
        room.add(room.make("m.room.power_levels", {"users": {} if version == "12" else {ALICE: 100}}, state_key=""))
        room.add(room.make("m.room.topic", {}, state_key=""))
        self.names = {event.type: event.event_id for event in room.state.values()}
        self.events = {event.event_id: event for event in room.state.values()}
        self.asked: list[EventId] = []

    def __call__(self, ids: Iterable[EventId]) -> dict[EventId, Event]:
        asked = list(ids)
        self.asked += asked
        return {event_id: self.events[event_id] for event_id in asked if event_id in self.events}


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_the_auth_chain_reaches_the_create_event_also_where_it_is_only_implied(version: str) -> None:
    source = Source(version)
    graph = AuthGraph(source)
    assert graph.closure([source.names["m.room.topic"]]) == set(source.events)
    assert sorted(source.asked) == sorted(source.events)


def test_every_event_is_fetched_once_and_unknown_ones_are_left_out() -> None:
    source = Source()
    graph, unknown = AuthGraph(source), EventId("$" + "x" * 43)
    topic = source.names["m.room.topic"]
    assert [event.event_id for event in graph.known([topic, unknown, topic])] == [topic, topic]
    assert graph[topic].event_id == topic
    assert topic in graph
    assert unknown not in graph
    assert source.asked == [topic, unknown]


def test_searching_an_auth_chain_stops_when_all_is_found() -> None:
    source = Source()
    graph, names = AuthGraph(source), source.names
    assert graph.closure_within([names["m.room.topic"]], set()) == set()
    assert source.asked == []
    found = graph.closure_within([names["m.room.topic"]], {names["m.room.power_levels"]})
    assert found == {names["m.room.power_levels"]}
    assert source.asked == [names["m.room.topic"]]
    assert graph.closure_within([names["m.room.create"]], {names["m.room.topic"]}) == set()


def test_what_lies_between_is_on_a_path_from_one_end_to_another() -> None:
    source = Source()
    graph, names = AuthGraph(source), source.names
    ends = {names["m.room.topic"], names["m.room.create"]}
    assert graph.between(ends, graph.closure(ends)) == set(source.events)
    ends = {names["m.room.topic"], names["m.room.member"]}
    assert graph.between(ends, graph.closure(ends)) == set(source.events) - {names["m.room.create"]}
    alone = {names["m.room.topic"]}
    assert graph.between(alone, graph.closure(alone)) == alone
