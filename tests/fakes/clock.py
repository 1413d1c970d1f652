"""A clock that moves only when told, or a tick at every look."""


class FakeClock:
    def __init__(self, now_ms: int = 1_800_000_000_000, tick_ms: int = 1) -> None:
        self.now_ms = now_ms
        self.tick_ms = tick_ms

    def wall_ms(self) -> int:
        self.now_ms += self.tick_ms
        return self.now_ms
