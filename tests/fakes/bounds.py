"""Bounds that are nowhere near, or exactly where a test wants them."""

from collections.abc import Callable

import trio

from relay.base.config import LimitsConfig
from relay.delivery.bounds.admission import Admission
from relay.delivery.bounds.levels import Level


class SetGauges:
    """One level, set by hand."""

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    def levels(self) -> tuple[Level, ...]:
        return (Level("the test's card", round(self.share * 1000), 1000, "end the test"),)


def admission(
    gauges: SetGauges | None = None,
    limits: LimitsConfig | None = None,
    now_s: Callable[[], float] = trio.current_time,
) -> Admission:
    """Return an admission that lets everything in until its gauges are set."""
    return Admission(limits or LimitsConfig(), gauges or SetGauges(), now_s=now_s)
