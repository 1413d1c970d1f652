"""The console's loop on a cable in memory: waiting, unplugging, a person who does not read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.base.limits import MAX_CONSOLE_OUTPUT_BYTES
from relay.box.button import PushButton
from relay.box.light import Shown
from relay.box.serial_port import PortUnavailableError
from relay.console.presence import Found, Presence
from relay.console.station import Station
from tests.fakes.console_operator import MemoryBox, MemoryOperator
from tests.fakes.input_device import FakeInputDevice
from tests.fakes.line import Cable, CablePort


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A station that a test steps by hand."""

    def __init__(self, box: MemoryBox | None = None, *, late: bool = False) -> None:
        self.cable, self.clock = Cable(), Clock()
        self.operator = MemoryOperator(box or MemoryBox(), late=late)
        self.station = Station(self.cable.open, lambda: self.operator, timer=self.clock)
        self.station._port = self.cable.open()

    def type(self, text: str) -> str:
        """Type, let the station do everything it can, return what came back."""
        self.cable.type(text.encode())
        self.station.step(wait=False)
        seen = b""
        while True:
            self.station.step(wait=False)
            piece = self.cable.seen()
            seen += piece
            if not (piece or self.station._out or (self.station._calls and not self.operator.late)):
                return seen.decode()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.station._close()
    bench.cable.close()
    for call in bench.operator.calls:
        call.cancel()


def test_until_somebody_is_there_nothing_is_made(bench: Bench) -> None:
    assert bench.type("noise\n\x1b[6n") == ""
    assert bench.station._session is None
    assert bench.station._operator is None
    assert "new box> " in bench.type("\r")


def test_a_program_is_heard_without_a_return_but_only_at_the_start_of_a_line(bench: Bench) -> None:
    assert bench.type("noise") == ""
    assert bench.type('{"seq":1,"verb":"hello"}\n') == ""
    assert '"seq":2' in bench.type('{"seq":2,"verb":"hello"}\n')


def test_requests_go_to_the_operator_and_come_back(bench: Bench) -> None:
    assert "not set up" in bench.type("\rstatus\r")
    assert all(call.cancelled for call in bench.operator.calls)


def test_unplugged_in_the_middle_it_waits_longer_and_longer_and_goes_on(bench: Bench) -> None:
    bench.type("\rset name box.example\rset ow")
    bench.cable.unplug()
    bench.station.step(wait=False)
    opened = bench.cable.opened
    for _ in range(100):
        bench.clock.now_s += 0.1
        bench.station.step(wait=False)
    assert opened + 4 <= bench.cable.opened <= opened + 8
    bench.cable.plug()
    bench.clock.now_s += 6
    bench.station.step(wait=False)
    assert bench.cable.seen() == b""
    assert "name = box.example" in bench.type("\rplan\r")


def test_an_answer_that_comes_while_unplugged_is_not_lost(bench: Bench) -> None:
    bench.operator.late = True
    bench.type("\rset name box.example\rset owner anna\rset password\rlong pw 1\rlong pw 1\rapply\r")
    bench.cable.unplug()
    bench.station.step(wait=False)
    bench.operator.calls[-1].ring()
    bench.station.step(wait=False)
    assert bench.operator.box.provisioned()
    assert bench.operator.draft is None


def test_interrupting_frees_the_call(bench: Bench) -> None:
    bench.operator.late = True
    bench.type("\rstatus\r")
    assert "Interrupted" in bench.type("\x03")
    assert bench.operator.calls[0].cancelled


def test_somebody_who_never_reads_costs_bounded_memory(bench: Bench) -> None:
    for _ in range(600):
        bench.cable.type(b"\rhelp\r")
        bench.station.step(wait=False)
        assert len(bench.station._out) <= MAX_CONSOLE_OUTPUT_BYTES
    assert "new box> " in bench.type("\r")


def test_leaving_a_serial_console_only_silences_it(bench: Bench) -> None:
    bench.type("\rexit\r")
    assert bench.type("x") == ""
    assert "new box> " in bench.type("\r")


def test_a_box_whose_flash_is_full_still_has_a_console(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.operator, "keep_draft", full)
    assert "warning: the plan is in memory only: No space" in bench.type("\rset name box.example\r")
    assert "name = box.example" in bench.type("plan\r")


def test_a_request_that_cannot_be_started_is_answered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(bench.operator, "begin", no_memory)
    assert "error: the request could not be started: Cannot allocate" in bench.type("\rdoctor\r")
    assert '"retryable":true' in bench.type('\n\x04{"seq":1,"verb":"doctor"}\n')


class HeldButton:
    """A button that a test holds, and the light beside it."""

    def __init__(self) -> None:
        self.device, self.key = FakeInputDevice(), 30
        self.shown: list[str] = []

    def find(self) -> Found:
        return Found(PushButton(self.device, self.key, now_s=lambda: self.device.now_s), Path("/dev/null"), self)

    def show(self, what: Shown) -> None:
        self.shown.append(what.name)

    def borrow(self, what: Shown) -> Callable[[], None]:
        self.show(what)
        return lambda: self.shown.append("before")


@pytest.fixture
def held() -> Iterator[tuple[Bench, HeldButton]]:
    button = HeldButton()
    box = MemoryBox(provisioned=True, locks=True)
    bench = Bench(box)
    presence = Presence(button.find, lambda: button.device.now_s)
    bench.station._presence = presence
    yield bench, button
    presence.close()
    bench.station._close()
    bench.cable.close()
    for call in bench.operator.calls:
        call.cancel()


def hold(bench: Bench, button: HeldButton, seconds: float) -> str:
    """Hold the button; return what the person at the line is told meanwhile."""
    told = bench.type("")
    button.device.press(button.key)
    for _ in range(int(seconds)):
        told += bench.type("")
        button.device.now_s += 1
    told += bench.type("")
    button.device.release(button.key)
    return told + bench.type("")


def test_the_held_button_opens_the_gate_and_the_person_at_the_line_is_told(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    assert "or hold the button" not in bench.type("\rrestart\r\x03")
    assert "The button was held: changes are allowed for 2 minutes" in hold(bench, button, 4)
    assert "Restarting" in bench.type("restart\r")
    button.device.now_s += 200
    assert "hold the button 3 s" in bench.type("restart\r")
    assert button.shown == ["ALLOWING", "before"]


def test_presence_counts_for_whoever_comes_right_after(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    assert hold(bench, button, 4) == ""
    assert '"locked":false' in bench.type('\n{"seq":1,"verb":"hello"}\n')


def test_held_for_ten_seconds_it_resets_and_is_told_step_by_step(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    bench.type("\r")
    told = hold(bench, button, 11)
    assert "everything will be forgotten in 5 s" in told
    assert "this box is new again" in told
    assert bench.operator.box.asked == [{"verb": "button_reset"}]
    assert not bench.operator.box.provisioned()
    assert "new box> " in bench.type("\r")
    assert button.shown == ["ALLOWING", "RESETTING"]


def test_let_go_before_nothing_is_forgotten(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    bench.type("\r")
    assert "It was let go: nothing was forgotten" in hold(bench, button, 8)
    assert bench.operator.box.asked == []


def test_with_nobody_at_the_line_the_button_resets_all_the_same(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    bench.station.step(wait=False)
    bench.cable.unplug()
    button.device.press(button.key)
    for _ in range(12):
        bench.station.step(wait=False)
        button.device.now_s += 1
    bench.station.step(wait=False)
    assert not bench.operator.box.provisioned()


def test_a_reset_clears_the_plan_of_a_box_that_is_not_set_up_yet(held: tuple[Bench, HeldButton]) -> None:
    bench, button = held
    bench.operator.box.server = ""
    bench.type("\rset name box.example\r")
    hold(bench, button, 11)
    assert bench.operator.draft is None
    assert "missing: name" in bench.type("plan\r")


def test_a_reset_that_fails_is_said_and_the_light_goes_back(
    held: tuple[Bench, HeldButton], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, button = held

    def no_memory(_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    bench.type("\r")
    monkeypatch.setattr(bench.operator, "begin", no_memory)
    assert "error: it could not be started: Cannot allocate memory" in hold(bench, button, 11)
    assert button.shown[-1] == "before"


def test_a_port_that_was_never_there_is_said_at_once() -> None:
    cable = Cable()
    cable.unplug()
    station = Station(cable.open, lambda: MemoryOperator(MemoryBox()))
    with pytest.raises(PortUnavailableError):
        station.run()
    cable.close()


def test_a_terminal_console_ends_when_the_box_is_set_up_and_says_everything_first() -> None:
    cable, operator = Cable(), MemoryOperator(MemoryBox())
    cable.type(b"box.example\ranna\rlong pw 1\rlong pw 1\r\r\r\r")
    station = Station(cable.open, lambda: operator, until_applied=True, stays=False)
    assert station.run(greet=True)
    assert b"http://127.0.0.1:8008" in cable.seen()
    cable.close()


def test_what_nobody_says_is_right_goes_back_while_the_console_is_silent() -> None:
    cable, clock, operator = Cable(), Clock(), MemoryOperator(MemoryBox(provisioned=True))
    operator.box.on_trial_s = 30

    def settle_in() -> float | None:
        return None if operator.box.on_trial_s is None else max(0.0, operator.box.on_trial_s - clock.now_s)

    station = Station(cable.open, lambda: operator, settle_in=settle_in, timer=clock)
    station._port = cable.open()
    for _ in range(40):
        clock.now_s += 1
        station.step(wait=False)
    assert operator.box.asked == [{"verb": "settle"}]
    assert operator.box.settled == 1
    assert cable.seen() == b""
    assert station._settle_at is None
    station._close()
    cable.close()
    for call in operator.calls:
        call.cancel()


@pytest.mark.parametrize("goodbye", [b"\x03exit\r", b"\x03\x04", b""])
def test_a_terminal_console_ends_with_its_person(goodbye: bytes) -> None:
    cable = Cable()

    def open_port() -> CablePort:
        port = cable.open()
        if goodbye:
            cable.type(goodbye)
        else:
            cable.unplug()
        return port

    station = Station(open_port, lambda: MemoryOperator(MemoryBox()), until_applied=True, stays=False)
    assert not station.run(greet=True)
    cable.close()
