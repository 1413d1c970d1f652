from pathlib import Path

import pytest

from relay.box.light import Shown, StatusLight
from tests.fakes.kernel_light import KernelLight

ALL = "rfkill-any none usb-gadget timer [heartbeat] pattern default-on\n"


def led(folder: Path, name: str = "ACT", *, triggers: str = ALL) -> Path:
    """Make a light as the kernel shows one once its triggers have been chosen."""
    path = folder / name
    path.mkdir()
    (path / "trigger").write_text(triggers)
    for attribute in ("brightness", "delay_on", "delay_off", "pattern"):
        (path / attribute).write_text("")
    return path


def written(path: Path) -> dict[str, str]:
    return {attribute.name: attribute.read_text() for attribute in path.iterdir()}


def shown(path: Path, light: StatusLight, what: Shown) -> dict[str, str]:
    for attribute in path.iterdir():
        attribute.write_text(ALL if attribute.name == "trigger" else "")
    light.show(what)
    return {name: text for name, text in written(path).items() if text and text != ALL}


def test_the_states_look_different_from_each_other(tmp_path: Path) -> None:
    path = led(tmp_path)
    light = StatusLight(["PWR", "ACT"], tmp_path)
    assert light.name == "ACT"
    looks = [str(sorted(shown(path, light, what).items())) for what in Shown]
    assert len(set(looks)) == len(Shown)


def test_a_healthy_box_burns_steadily_and_one_in_need_flashes_twice(tmp_path: Path) -> None:
    path = led(tmp_path)
    light = StatusLight(["ACT"], tmp_path)
    healthy = shown(path, light, Shown.HEALTHY)
    assert healthy["brightness"] == "255"
    assert healthy["trigger"].startswith("none")
    attention = shown(path, light, Shown.ATTENTION)
    assert attention["trigger"].startswith("pattern")
    # Twice on, and dark in between, each change sudden.
    assert attention["pattern"] == "255 120 255 0 0 180 0 0 255 120 255 0 0 1600 0 0"


def test_without_the_pattern_trigger_a_short_flash_asks_for_help(tmp_path: Path) -> None:
    path = led(tmp_path, triggers="[none] timer\n")
    StatusLight(["ACT"], tmp_path).show(Shown.ATTENTION)
    assert (written(path)["delay_on"], written(path)["delay_off"]) == ("120", "1600")
    assert written(path)["pattern"] == ""


@pytest.mark.parametrize("before", [Shown.HEALTHY, Shown.WAITING, Shown.ATTENTION])
def test_a_light_that_is_borrowed_is_given_back_as_it_was(tmp_path: Path, before: Shown) -> None:
    light, other = KernelLight(tmp_path), KernelLight(tmp_path)
    light.show(before)
    look = light.look()
    give_back = other.borrow(Shown.ALLOWING)
    assert other.look() == light.look_of(Shown.ALLOWING) != look
    give_back()
    assert light.look() == look


def test_a_borrowed_light_that_somebody_else_wrote_to_is_not_given_back(tmp_path: Path) -> None:
    light, other = KernelLight(tmp_path), KernelLight(tmp_path)
    give_back = other.borrow(Shown.ALLOWING)
    light.show(Shown.ATTENTION)
    give_back()
    assert light.look() == light.look_of(Shown.ATTENTION)


def test_a_board_without_a_light_lends_none(tmp_path: Path) -> None:
    StatusLight((), tmp_path).borrow(Shown.ALLOWING)()


def test_what_the_light_did_before_is_put_back(tmp_path: Path) -> None:
    path = led(tmp_path)
    light = StatusLight(["ACT"], tmp_path)
    light.show(Shown.STARTING)
    light.release()
    assert written(path)["trigger"].startswith("heartbeat")


@pytest.mark.parametrize("left", [None, Shown.WAITING, Shown.ATTENTION, Shown.HEALTHY])
def test_a_box_that_has_ended_is_dark_where_nobody_but_it_used_the_light(tmp_path: Path, left: Shown | None) -> None:
    place = KernelLight(tmp_path)
    place.choose("none")
    if left is not None:
        # By the console before set-up, or by a box that lost its power.
        place.show(left)
    light = KernelLight(tmp_path)
    light.show(Shown.HEALTHY)
    light.release()
    assert light.look() == {"trigger": "none", "brightness": "0"}


@pytest.mark.parametrize("candidates", [[], ["ACT"]])
def test_a_board_without_a_light_is_no_fault(tmp_path: Path, candidates: list[str]) -> None:
    light = StatusLight(candidates, tmp_path)
    for what in Shown:
        light.show(what)
    light.release()
    assert light.name == ""
    assert list(tmp_path.iterdir()) == []


def test_a_light_that_lacks_an_attribute_gets_no_file_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.box.light._HANDED_OVER_WITHIN_S", 0.0)
    path = led(tmp_path)
    (path / "delay_on").unlink()
    StatusLight(["ACT"], tmp_path).show(Shown.WAITING)
    assert not (path / "delay_on").exists()


class RootsLight(StatusLight):
    """A light whose attributes are root's until udev has handed them over."""

    refusals = 2
    chosen = 0

    def _write(self, name: str, text: str) -> None:
        if name == "trigger":
            self.chosen += 1
            text = f"none timer pattern [{text}]"
        elif self.refusals > 0:
            self.refusals -= 1
            raise PermissionError(name)
        super()._write(name, text)


def test_what_comes_with_a_trigger_is_waited_for_until_it_is_handed_over(tmp_path: Path) -> None:
    path = led(tmp_path)
    light = RootsLight(["ACT"], tmp_path)
    light.show(Shown.STARTING)
    assert (written(path)["delay_on"], written(path)["delay_off"]) == ("150", "150")
    assert light.refusals == 0


def test_another_rhythm_of_the_same_trigger_does_not_choose_it_again(tmp_path: Path) -> None:
    path = led(tmp_path)
    light = RootsLight(["ACT"], tmp_path)
    for what in (Shown.STARTING, Shown.WAITING):
        light.show(what)
    assert light.chosen == 1
    assert (written(path)["delay_on"], written(path)["delay_off"]) == ("1000", "1000")


def test_what_could_not_be_shown_is_tried_again_when_it_is_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.box.light._HANDED_OVER_WITHIN_S", 0.0)
    path = led(tmp_path)
    light = RootsLight(["ACT"], tmp_path)
    light.show(Shown.HEALTHY)
    light.show(Shown.HEALTHY)
    assert not light.shows(Shown.HEALTHY)
    assert written(path)["brightness"] == ""
    light.show(Shown.HEALTHY)
    assert light.shows(Shown.HEALTHY)
    assert written(path)["brightness"] == "255"
