import trio
import trio.testing

from relay.store.wakeups import Signal, Wakeups


async def test_a_signal_rung_before_the_wait_is_not_missed(autojump_clock: trio.testing.MockClock) -> None:
    signal = Signal()
    signal.ring()
    signal.ring()
    await signal.wait()
    with trio.move_on_after(1) as scope:
        await signal.wait()
    assert scope.cancelled_caught


async def test_topics_added_later_ring_too_and_closed_watches_are_forgotten() -> None:
    wakeups = Wakeups()
    with wakeups.watch(["a"]) as watch, wakeups.watch(["b"]) as other:
        watch.add("b", "c")
        wakeups.ring(["c", "nobody"])
        assert await watch.wait() == {"c"}
        wakeups.ring(["b", "b", "a"])
        assert await watch.wait() == {"a", "b"}
        assert await other.wait() == {"b"}
    assert not wakeups._watches
