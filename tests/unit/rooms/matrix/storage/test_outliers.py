from hypothesis import given
from hypothesis import strategies as st

from relay.base.ids import EventId
from relay.core.matrix.events import Event, stored_event
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix.exchange.fetching import by_ancestry
from relay.rooms.matrix.storage.outliers import authorized, in_order


def _event(name: str, *, auth: list[str] | None = None, prev: list[str] | None = None, kind: str = "m.x") -> Event:
    raw = {
        "type": kind,
        "state_key": "",
        "sender": "@a:a.example",
        "content": {"creator": "@a:a.example", "room_version": "10"},
        "depth": 1,
        "prev_events": prev or [],
        "auth_events": auth or [],
        "origin_server_ts": 1,
        "room_id": "!r:a.example",
    }
    return stored_event(raw, room_version("10"), EventId(name))


GRAPHS = st.lists(st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=10)


@given(graph=GRAPHS)
def test_every_event_comes_after_those_it_points_to_and_cycles_are_left_out(graph: list[set[int]]) -> None:
    for order, field in ((in_order, "auth"), (by_ancestry, "prev")):
        events = {}
        for number, cited in enumerate(graph):
            event = _event(f"${number}", **{field: [f"${other}" for other in sorted(cited)]})  # type: ignore[arg-type]
            events[event.event_id] = event
        seen: set[EventId] = set()
        for event in order(events):
            cited_ids = event.auth_events if field == "auth" else event.prev_events
            assert all(cited_id in seen for cited_id in cited_ids if cited_id in events)
            seen.add(event.event_id)
        forwards_only = all(max(cited, default=-1) < number for number, cited in enumerate(graph))
        assert not forwards_only or len(seen) == len(events)


def test_what_cites_a_refused_event_is_refused_and_what_cites_an_unknown_one_is_left_out() -> None:
    create = _event("$create", kind="m.room.create")
    refused = _event("$refused", auth=["$create"])
    citing = _event("$citing", auth=["$create", "$refused"])
    lost = _event("$lost", auth=["$nowhere"])
    events = {event.event_id: event for event in (citing, lost, refused, create)}
    decided = {event.event_id: good for event, good in authorized(in_order(events), {})}
    assert decided == {"$create": True, "$refused": False, "$citing": False}
