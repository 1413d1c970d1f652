"""Setting the clock through the system's service, on a bus of its own."""

import datetime
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.box import time_service
from relay.box.time_service import TimeUnavailableError, set_time
from relay.cli.operate import operate
from tests.fakes.network_service import FakeNetworkService
from tests.interop.peer_environments import bus_daemon

pytestmark = pytest.mark.interop

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNetworkService]:
    with FakeNetworkService(tmp_path, bus_daemon()) as service:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", service.address)
        yield service


@pytest.mark.parametrize("follows", [True, False])
def test_the_service_sets_the_clock_and_follows_the_network_as_before(
    service: FakeNetworkService, tmp_path: Path, follows: bool
) -> None:
    service.follows = follows
    told = operate(tmp_path, {"verb": "time_set", "utc": "2026-11-23T12:00:00Z"})
    assert told == {"utc": NOON.isoformat()}
    assert service.wall_us == NOON.timestamp() * 1e6
    assert service.follows is follows


def test_a_service_that_refuses_is_quoted_and_goes_on_following(service: FakeNetworkService) -> None:
    service.refuses_time = True
    with pytest.raises(TimeUnavailableError, match="refused: AccessDenied"):
        set_time(0)
    assert service.follows is True


def test_what_does_not_stop_following_the_network_is_quoted_in_the_end(
    service: FakeNetworkService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_service, "_STOPPED_WITHIN_S", 0.1)
    service.stops_within_s = 60.0
    with pytest.raises(TimeUnavailableError, match="refused: AutomaticTimeSyncEnabled"):
        set_time(0)
    assert service.follows is True


def test_without_a_service_root_sets_the_clock_and_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'nowhere'}")
    told: list[float] = []
    monkeypatch.setattr(time, "clock_settime", lambda _clock, wall_s: told.append(wall_s))
    operate(tmp_path, {"verb": "time_set", "utc": "2026-11-23T12:00:00Z"})
    assert told == [NOON.timestamp()]

    def refuse(_clock: int, _wall_s: float) -> None:
        raise PermissionError

    monkeypatch.setattr(time, "clock_settime", refuse)
    with pytest.raises(TimeUnavailableError, match="no system bus"):
        operate(tmp_path, {"verb": "time_set", "utc": "2026-11-23T12:00:00Z"})


def test_a_bus_that_never_answers_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen()
        with pytest.raises(TimeUnavailableError, match="does not answer"):
            set_time(0, {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}, timeout_s=0.2)
