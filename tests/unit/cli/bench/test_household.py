from collections import Counter

import pytest

from relay.cli.bench.household import DAY_MESSAGES, DAY_S, DEVICES, ROOMS, SESSION_MESSAGES, Kind, draw_day

DAY = draw_day()
SPOKEN = [act for act in DAY if act.kind in (Kind.SAY, Kind.PICTURE)]


def test_a_day_has_its_messages_and_takes_a_day() -> None:
    assert len(SPOKEN) == DAY_MESSAGES
    assert SPOKEN[-1].at_s == pytest.approx(DAY_S, rel=0.1)
    assert [act.at_s for act in DAY] == sorted(act.at_s for act in DAY)


def test_the_same_seed_is_the_same_day_and_another_one_is_not() -> None:
    assert draw_day(50) == draw_day(50) != draw_day(50, seed=2)


def test_a_part_of_a_day_keeps_its_pace_and_proportions() -> None:
    part = draw_day(500)
    counts = Counter(act.kind for act in part)
    assert counts[Kind.PICTURE] == 5
    assert counts[Kind.SETTINGS] == 6
    assert part[-1].at_s == pytest.approx(DAY_S / 4, rel=0.2)


def test_only_members_speak_and_read_and_nobody_reads_only_herself() -> None:
    assert all(act.device.user in ROOMS[act.room].people for act in DAY if act.kind is not Kind.SETTINGS)
    senders = {act.number: act.device.user for act in SPOKEN}
    assert all(act.device.user != senders[act.number] for act in DAY if act.kind is Kind.READ)


def test_rooms_get_the_part_of_the_messages_they_weigh() -> None:
    counts = Counter(act.room for act in SPOKEN)
    for place, room in enumerate(ROOMS):
        assert counts[place] / DAY_MESSAGES == pytest.approx(room.weight, abs=0.04)


def test_room_keys_are_shared_once_in_so_many_messages_of_a_device() -> None:
    shared = sum(act.kind is Kind.SHARE_KEYS for act in DAY)
    assert shared == pytest.approx(DAY_MESSAGES / SESSION_MESSAGES, abs=len(DEVICES))
