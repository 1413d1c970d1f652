from relay.base.ids import ServerName
from relay.base.limits import MAX_LANE_EVENTS, MAX_TRANSACTION_EDUS, MAX_TRANSACTION_PDUS
from relay.delivery.outbox.lane import Lane
from relay.delivery.outbox.queue import Batch

OMA = ServerName("oma.example")


def events(*numbers: int) -> list[tuple[int, dict[str, int]]]:
    return [(number, {"n": number}) for number in numbers]


def live_lane() -> Lane:
    return Lane(OMA, cursor=10, seen=10, live=True)


def is_live(lane: Lane) -> bool:
    return lane.live


def test_what_is_offered_leaves_in_order_and_in_whole_transactions() -> None:
    lane = live_lane()
    lane.offer(events(*range(11, 11 + MAX_TRANSACTION_PDUS + 5)))
    first = lane.take_fresh()
    assert ([pdu["n"] for pdu in first.pdus], first.events_to, first.more) == (list(range(11, 61)), 60, True)
    second = lane.take_fresh()
    assert (len(second.pdus), second.events_to, second.more) == (5, 65, False)
    assert lane.idle


def test_nothing_is_taken_twice_after_a_look_into_the_ledger() -> None:
    lane = live_lane()
    lane.offer(events(11, 12, 13))
    lane.follow(Batch([{"n": 11}, {"n": 12}], [], 12), dispatched=13)
    lane.offer(events(12, 13, 14)[0:1])
    assert [pdu["n"] for pdu in lane.take_fresh().pdus] == [13]


def test_a_lane_that_fell_behind_asks_the_ledger_until_it_has_caught_up() -> None:
    lane = live_lane()
    lane.offer(events(*range(11, 12 + MAX_LANE_EVENTS)))
    assert not is_live(lane)
    assert not lane.fresh
    lane.offer(events(500))
    assert not lane.fresh
    lane.follow(Batch([{}], [], 60, more=True), dispatched=500)
    assert not is_live(lane)
    lane.follow(Batch([{}], [], 400), dispatched=500)
    assert not is_live(lane)  # the dispatcher went on meanwhile, and its word was not taken
    lane.rows = False
    lane.follow(Batch([{}], [], 500), dispatched=500)
    assert is_live(lane)
    assert lane.idle


def test_a_newer_volatile_unit_takes_the_place_of_the_older() -> None:
    lane = live_lane()
    lane.put_volatile(("m.receipt", "a"), {"edu_type": "m.receipt", "n": 1})
    lane.put_volatile(("m.receipt", "a"), {"edu_type": "m.receipt", "n": 2})
    taken = lane.take_volatile()
    assert [edu["n"] for edu in taken.values()] == [2]
    lane.put_volatile(("m.receipt", "a"), {"edu_type": "m.receipt", "n": 3})
    lane.put_back(taken)
    assert [edu["n"] for edu in lane.take_volatile().values()] == [3]


def test_only_so_many_volatile_units_wait() -> None:
    lane = live_lane()
    for number in range(MAX_TRANSACTION_EDUS + 5):
        lane.put_volatile((str(number),), {"edu_type": "m.receipt", "n": number})
    waiting = [edu["n"] for edu in lane.take_volatile().values()]
    assert waiting == list(range(5, MAX_TRANSACTION_EDUS + 5))


def test_typing_does_not_wait_for_a_silent_peer() -> None:
    lane = live_lane()
    lane.put_volatile(("a",), {"edu_type": "m.typing"})
    lane.put_volatile(("b",), {"edu_type": "m.receipt"})
    lane.forget_typing()
    assert list(lane.volatile) == [("b",)]
    lane.failures = 1
    lane.put_volatile(("a",), {"edu_type": "m.typing"})
    assert list(lane.volatile) == [("b",)]
