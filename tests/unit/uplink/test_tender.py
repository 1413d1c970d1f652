import datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from relay.base.config_names import AcmeConfig
from relay.base.errors import UnreachableError
from relay.cli.files import write_whole
from relay.uplink.acme.places import CERTIFICATE, RECORD
from relay.uplink.acme.schedule import Record
from relay.uplink.acme.tls_alpn import TlsAlpn
from relay.uplink.served import ServedFiles
from relay.uplink.tender import Tender

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)


class House:
    """A state folder, a clock that goes as Trio's does, and a child that notes when it is asked."""

    def __init__(
        self, state: Path, *, begins: datetime.datetime = NOW, settles_s: float = 0.0, **settings: str
    ) -> None:
        issued = trustme.CA().issue_cert("box.example")
        issued.private_key_pem.write_to_path(str(state / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(str(state / "cert.pem"))
        self.state = state
        self.begins_ms = int(begins.timestamp() * 1000)
        self.begun_s = trio.current_time()
        self.asked: list[tuple[float, bool]] = []
        self.answers: list[dict[str, Any] | Exception] = []
        self.pending: list[bool] = []
        self.takes_s = 0.0
        self.served = ServedFiles(lambda: (state / "cert.pem", state / "key.pem"))
        config = AcmeConfig(**{"directory": "https://acme.test/dir", **settings})  # type: ignore[arg-type]
        self.tender = Tender(state, config, self.served, self.ask, self, settles_s=settles_s)

    def wall_ms(self) -> int:
        return self.begins_ms + round((trio.current_time() - self.begun_s) * 1000)

    async def ask(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((trio.current_time() - self.begun_s, fields["at_start"]))
        challenge = self.served.identity.challenge
        self.pending.append(challenge is not None)
        if challenge is not None:
            with TlsAlpn(self.state / "tls" / "challenge", write_whole, NOW).answering("box.example", "x"):
                assert challenge("box.example") is not None
                assert challenge("other.example") is None
                assert challenge("../challenge/box.example") is None
        await trio.sleep(self.takes_s)
        answer = self.answers.pop(0) if self.answers else {"pause_s": 6 * 3600.0, "failed": ""}
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def live(self, for_s: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tender.run)
            await trio.sleep(for_s)
            nursery.cancel_scope.cancel()


async def test_it_is_asked_at_the_start_and_then_as_often_as_it_says(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path)
    house.answers = [{"pause_s": 300.0, "failed": "dns"}, {"pause_s": 3600.0, "failed": ""}]
    await house.live(4000)
    assert [(round(moment), start) for moment, start in house.asked] == [(0, True), (300, False), (3900, False)]
    assert house.pending == [True, True, True]
    assert house.served.identity.challenge is None


async def test_a_child_that_failed_is_asked_again(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path)
    house.answers = [UnreachableError("no answer"), {"pause_s": 10_000.0}]
    await house.live(3000)
    assert [round(moment) for moment, _ in house.asked] == [0, 1800]


async def test_dns_challenges_leave_the_listeners_alone(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path, challenge="dns-01")
    await house.live(10)
    assert house.pending == [False]


async def test_the_first_certificate_waits_until_name_and_router_lead_here(
    tmp_path: Path, autojump_clock: object
) -> None:
    house = House(tmp_path, settles_s=30)
    await house.live(100)
    assert [round(moment) for moment, _ in house.asked] == [30]
    house = House(tmp_path, settles_s=30)
    (tmp_path / CERTIFICATE.parent).mkdir(parents=True)
    (tmp_path / CERTIFICATE).touch()
    await house.live(100)
    assert [round(moment) for moment, _ in house.asked] == [0]


async def test_it_waits_until_the_clock_is_set(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path, begins=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.tender.run)
        await trio.sleep(1000)
        assert house.asked == []
        house.begins_ms = int(NOW.timestamp() * 1000)
        await trio.sleep(11)
        assert len(house.asked) == 1
        nursery.cancel_scope.cancel()


async def test_a_clock_that_jumps_ahead_ends_the_pause(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.tender.run)
        await trio.sleep(10)
        house.begins_ms += 90 * 24 * 3600 * 1000
        await trio.sleep(601)
        assert len(house.asked) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("ended", "takes_s", "waited_s"), [(True, 20.0, 20), (True, 500.0, 60), (False, 20.0, 0)])
async def test_a_dead_certificate_is_waited_for_and_not_for_ever(
    tmp_path: Path, autojump_clock: object, ended: bool, takes_s: float, waited_s: int
) -> None:
    house = House(tmp_path)
    house.takes_s = takes_s
    (tmp_path / CERTIFICATE.parent).mkdir(parents=True)
    (tmp_path / CERTIFICATE).touch()
    (tmp_path / RECORD).write_bytes(Record(ends_s=NOW.timestamp() + (-5 if ended else 5)).render())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.tender.run)
        begun_s = trio.current_time()
        await house.tender.alive()
        assert round(trio.current_time() - begun_s) == waited_s
        nursery.cancel_scope.cancel()
    assert house.tender.status()["ends_s"] == round(NOW.timestamp()) + (-5 if ended else 5)


async def test_the_attempts_of_today_are_those_of_the_last_day(tmp_path: Path, autojump_clock: object) -> None:
    house = House(tmp_path)
    (tmp_path / RECORD.parent).mkdir(parents=True)
    orders = tuple(NOW.timestamp() - hours * 3600 for hours in (30, 20, 1))
    (tmp_path / RECORD).write_bytes(Record(orders=orders).render())
    assert house.tender.status()["attempts_today"] == 2
