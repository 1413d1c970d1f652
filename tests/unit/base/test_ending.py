import signal
import threading

import pytest

from relay.base.ending import ends_in_order


def test_an_end_that_is_asked_for_takes_back_what_was_begun_and_is_asked_for_once() -> None:
    taken_back: list[str] = []

    def change() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            taken_back.append("all")

    with pytest.raises(SystemExit) as ended, ends_in_order():
        change()
    assert ended.value.code == 0
    assert taken_back == ["all"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_process_that_listens_for_its_end_itself_goes_on_doing_so() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        with ends_in_order():
            signal.raise_signal(signal.SIGTERM)
            with ends_in_order():
                signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_another_thread_leaves_signals_alone() -> None:
    seen: list[object] = []

    def look() -> None:
        with ends_in_order():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
