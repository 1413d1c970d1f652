import threading

import trio

from relay.store.workers import ThreadWorkers


async def test_the_loop_turns_while_a_worker_waits_for_the_disk() -> None:
    turned = threading.Event()

    async def turn() -> None:
        turned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        # The worker stands still until the loop has turned: on the loop's own thread this would never end.
        assert await ThreadWorkers().run(turned.wait, 5)
