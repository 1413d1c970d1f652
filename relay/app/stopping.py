"""How this process is asked to end: by a signal, or by an operator who may want a new start after it."""

import signal

import trio


class StopAsked:
    """Set once.

    Attributes:
        asked: set when somebody asked.
        restart: whether a new start was asked for.
        served: whether the doors were open before.
    """

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.restart = False
        self.served = False

    def __call__(self, restart: bool) -> None:  # noqa: FBT001 - the operator's callback
        """Ask; who wants no new start has the last word, as what falls due meanwhile would have one."""
        self.restart = restart and (self.restart or not self.asked.is_set())
        self.asked.set()


async def listen_to_signals(stop: StopAsked, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Ask `stop` at SIGTERM and SIGINT, until cancelled."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop(False)  # noqa: FBT003 - the operator's callback
