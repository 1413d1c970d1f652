"""Wake-ups: who waits for which topic, and bells that nobody misses."""

from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import Self

import trio


class Signal:
    """A bell for one listener: rung before or while it waits, it returns once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Let the current or the next `wait` return."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the bell has rung since the last return."""
        await self._event.wait()
        self._event = trio.Event()


class Watch:
    """A set of topics one task waits for; open it with `with` before reading what it guards."""

    def __init__(self, wakeups: "Wakeups", topics: Iterable[Hashable]) -> None:
        self._wakeups = wakeups
        self._topics = set(topics)
        self._rung: set[Hashable] = set()
        self._event = trio.Event()

    def __enter__(self) -> Self:
        self._wakeups.open(self, self._topics)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wakeups.close(self, self._topics)

    def add(self, *topics: Hashable) -> None:
        """Wait for these topics too, from now on."""
        fresh = set(topics) - self._topics
        self._topics |= fresh
        self._wakeups.open(self, fresh)

    def ring(self, topic: Hashable) -> None:
        """Note that `topic` has durable news."""
        self._rung.add(topic)
        self._event.set()

    async def wait(self) -> frozenset[Hashable]:
        """Return the topics rung since the watch was opened or last waited; wait for one where there is none."""
        await self._event.wait()
        return self.take()

    def take(self) -> frozenset[Hashable]:
        """As `wait`, but return at once, with nothing where no topic was rung."""
        if not self._rung:
            return frozenset()
        rung = frozenset(self._rung)
        self._rung.clear()
        self._event = trio.Event()
        return rung


class Wakeups:
    """Every open watch, by topic."""

    def __init__(self) -> None:
        self._watches: dict[Hashable, set[Watch]] = {}

    def watch(self, topics: Iterable[Hashable]) -> Watch:
        """Return a watch on `topics`, not yet open."""
        return Watch(self, topics)

    def open(self, watch: Watch, topics: Iterable[Hashable]) -> None:
        """Let `topics` ring `watch`."""
        for topic in topics:
            self._watches.setdefault(topic, set()).add(watch)

    def close(self, watch: Watch, topics: Iterable[Hashable]) -> None:
        """Forget `watch` under `topics`."""
        for topic in topics:
            watches = self._watches.get(topic, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(topic, None)

    def ring(self, topics: Iterable[Hashable]) -> None:
        """Ring every open watch on `topics`."""
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.ring(topic)
