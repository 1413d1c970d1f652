import pytest
import trio
from trio.testing import MockClock

from relay.base.config import LimitsConfig
from relay.base.ids import ServerName, UserId
from relay.base.limits import MAX_REFUSED_SERVERS, MIB
from relay.core.matrix.replies import matrix_reply
from relay.delivery.bounds.admission import (
    PACE_FIRST_S,
    PACE_MOST_S,
    REFUSED_FIRST_S,
    REFUSED_MOST_S,
    Admission,
    BoxFullError,
    FileQuotaError,
    LimitReachedError,
    SlowDownError,
)
from relay.delivery.bounds.intake import DAY_S
from relay.delivery.bounds.levels import Level
from tests.fakes.bounds import SetGauges, admission

OMA, OPA = ServerName("oma.example"), ServerName("opa.example")
ANNA, BERT = UserId("@anna:box"), UserId("@bert:box")
LIMITS = LimitsConfig(server_mib_per_day=100, user_mib_per_day=100)


class Now:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def made(share: float = 0.0) -> tuple[Admission, SetGauges, Now]:
    gauges, now = SetGauges(share), Now()
    return admission(gauges, LIMITS, now), gauges, now


def test_far_from_every_limit_nobody_notices_anything() -> None:
    admitting, _, _ = made(0.79)
    for _ in range(1000):
        admitting.take_from_server(OMA, 1000)
        admitting.take_from_user(ANNA, 1000)
    assert (admitting.mode, admitting.slowed_count, admitting.refused_count) == ("open", 0, 0)


def test_from_80_percent_a_source_has_to_pause_and_longer_the_fuller_it_gets() -> None:
    pauses = []
    for share in (0.805, 0.85, 0.9, 0.945):
        admitting, _, now = made(share)
        admitting.take_from_server(OMA, 10)
        with pytest.raises(SlowDownError) as refusal:
            admitting.take_from_server(OMA, 10)
        assert refusal.value.retry_after_s is not None
        pauses.append(refusal.value.retry_after_s)
        admitting.take_from_server(OPA, 10)
        assert admitting.mode == "slowed down"
        now.s += refusal.value.retry_after_s
        admitting.take_from_server(OMA, 10)
    assert pauses == sorted(pauses)
    assert PACE_FIRST_S < pauses[0] < 2 * PACE_FIRST_S < PACE_MOST_S / 2 < pauses[-1] < PACE_MOST_S


def test_from_95_percent_everything_new_is_refused_and_the_wait_grows() -> None:
    admitting, gauges, _ = made(0.951)
    refusals = [_refusal(admitting) for _ in range(12)]
    waits = [refusal.retry_after_s for refusal in refusals]
    assert "the test's card" in str(refusals[0])
    assert waits[:3] == [REFUSED_FIRST_S, 2 * REFUSED_FIRST_S, 4 * REFUSED_FIRST_S]
    assert waits[-1] == REFUSED_MOST_S
    assert (admitting.mode, admitting.growing_is_welcome, admitting.refused_count) == ("refused", False, 12)
    status, body = matrix_reply(refusals[-1])
    assert (status, body["errcode"], body["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 600_000)
    gauges.share = 0.5
    admitting.take_from_server(OMA, 10)
    gauges.share = 1.0
    assert _refusal(admitting).retry_after_s == REFUSED_FIRST_S


def _refusal(admitting: Admission) -> BoxFullError:
    with pytest.raises(BoxFullError) as refusal:
        admitting.take_from_server(OMA, 10)
    return refusal.value


def test_whoever_floods_meets_its_own_limit_and_nobody_else_does() -> None:
    admitting, _, now = made()
    for _ in range(80):
        admitting.take_from_server(OMA, MIB)
    sent = 80 * MIB
    for _ in range(15):
        now.s += PACE_MOST_S
        admitting.take_from_server(OMA, MIB)
        sent += MIB
    now.s += PACE_MOST_S
    admitting.take_from_server(OMA, MIB)
    sent += MIB
    with pytest.raises(LimitReachedError) as refusal:
        admitting.take_from_server(OMA, MIB)
    assert not isinstance(refusal.value, BoxFullError)
    ((source, held),) = admitting.servers.fullest(2)
    assert (source, round(held / sent, 1)) == (OMA, 1.0)
    for _ in range(100):
        admitting.take_from_server(OPA, 1000)
        admitting.take_from_user(ANNA, 1000)
    now.s += DAY_S / 100
    admitting.take_from_server(OMA, 1000)


def test_near_the_end_of_the_room_whoever_sent_much_lately_is_refused_first() -> None:
    admitting, gauges, now = made()
    admitting.take_from_user(ANNA, 60 * MIB)
    admitting.take_from_user(BERT, MIB)
    gauges.share = 0.9
    with pytest.raises(LimitReachedError):
        admitting.take_from_user(ANNA, 10)
    now.s += PACE_MOST_S
    admitting.take_from_user(BERT, 10)


def test_a_server_whose_own_queue_is_nearly_full_is_slowed_down() -> None:
    admitting, _, _ = made()
    admitting.note_queue(OMA, 0.9)
    admitting.take_from_server(OMA, 10)
    with pytest.raises(SlowDownError):
        admitting.take_from_server(OMA, 10)
    admitting.note_queue(OMA, 0.1)
    admitting.take_from_server(OMA, 10)


def test_files_have_limits_of_their_own_with_the_answers_that_uploads_know() -> None:
    admitting, _, now = made()
    admitting.take_file(ANNA, Level("own", 94, 100), Level("files", 10, 100))
    with pytest.raises(SlowDownError):
        admitting.take_file(ANNA, Level("own", 94, 100), Level("files", 10, 100))
    with pytest.raises(FileQuotaError) as quota:
        admitting.take_file(ANNA, Level("own", 95, 100), Level("files", 10, 100))
    assert matrix_reply(quota.value)[0] == 403
    assert matrix_reply(quota.value)[1]["errcode"] == "M_FORBIDDEN"
    with pytest.raises(LimitReachedError) as full:
        admitting.take_file(BERT, Level("own", 1, 100), Level("files", 95, 100))
    assert matrix_reply(full.value)[0] == 429
    now.s += PACE_MOST_S
    admitting.take_file(ANNA, Level("own", 1, 100), Level("files", 94, 100))


def test_what_is_counted_afterwards_counts_the_next_time() -> None:
    admitting, _, _ = made()
    admitting.take_from_user(ANNA, 0)
    admitting.count_from_user(ANNA, 100 * MIB)
    with pytest.raises(LimitReachedError):
        admitting.take_from_user(ANNA, 0)
    assert admitting.people.fullest(1) == [(ANNA, 100 * MIB)]


async def test_servers_that_were_turned_away_are_named_once_there_is_room(autojump_clock: MockClock) -> None:
    gauges = SetGauges(1.0)
    admitting = admission(gauges)
    relieved: list[list[ServerName]] = []

    async def wait() -> None:
        while True:
            relieved.append(await admitting.next_relieved())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for server in (OMA, OPA, OMA):
            with pytest.raises(BoxFullError):
                admitting.take_from_server(server, 1)
        await trio.sleep(100)
        assert relieved == []
        gauges.share = 0.94
        await trio.sleep(2)
        assert relieved == [[OMA, OPA]]
        await trio.sleep(100)
        assert relieved == [[OMA, OPA]]
        nursery.cancel_scope.cancel()


async def test_a_bounded_number_of_servers_is_called_back(autojump_clock: MockClock) -> None:
    gauges = SetGauges(1.0)
    admitting = admission(gauges)
    for number in range(MAX_REFUSED_SERVERS + 5):
        with pytest.raises(BoxFullError):
            admitting.take_from_server(ServerName(f"s{number}.example"), 1)
    gauges.share = 0.0
    assert len(await admitting.next_relieved()) == MAX_REFUSED_SERVERS
