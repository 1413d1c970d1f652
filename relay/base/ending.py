"""An end that is asked for (SIGTERM) while something is half done that is better taken back."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Have SIGTERM leave the block by SystemExit, where this process would end on the spot otherwise.

    Whoever asks again while that goes on has to wait for it. It is an end in good order: the process returns 0.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)
