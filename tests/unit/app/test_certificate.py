from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from relay.app import child
from relay.app.certificate import Certificate
from relay.app.house import House
from relay.base.clock import SystemClock
from relay.base.config import Config
from relay.uplink.acme.places import CERTIFICATE, RECORD
from relay.uplink.acme.schedule import Record


async def test_a_box_that_is_stopped_while_it_waits_for_a_certificate_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_folder: Path, _fields: dict[str, Any]) -> dict[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(child, "ask_child", never)
    (tmp_path / CERTIFICATE.parent).mkdir(parents=True)
    trustme.CA().issue_cert("box.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / CERTIFICATE))
    (tmp_path / RECORD).write_bytes(Record(ends_s=1.0).render())
    tables = {
        "server": {"name": "box.example"},
        "acme": {"directory": "https://acme.test/dir"},
        "client": {"tls": True},
    }
    house: Any = House.__new__(House)
    for name, value in {"folder": tmp_path, "config": Config.parse(tables), "clock": SystemClock()}.items():
        object.__setattr__(house, name, value)
    stop = trio.Event()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            certificate = Certificate(house)
            certificate.start(nursery)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.05) as patience:
                await certificate.alive(stop)
            assert patience.cancelled_caught
            stop.set()
            await certificate.alive(stop)
            nursery.cancel_scope.cancel()
