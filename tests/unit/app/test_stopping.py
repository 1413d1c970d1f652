import pytest

from relay.app.stopping import StopAsked


@pytest.mark.parametrize(("asked", "starts_again"), [([True], True), ([False], False), ([True, True], True)])
def test_whoever_asks_may_want_a_new_start(asked: list[bool], *, starts_again: bool) -> None:
    stop = StopAsked()
    for restart in asked:
        stop(restart)
    assert (stop.asked.is_set(), stop.restart) == (True, starts_again)


@pytest.mark.parametrize("asked", [[False, True], [True, False], [True, False, True]])
def test_a_box_that_was_told_to_stop_does_not_start_again_whatever_else_falls_due(asked: list[bool]) -> None:
    stop = StopAsked()
    for restart in asked:
        stop(restart)
    assert not stop.restart
