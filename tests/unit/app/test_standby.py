from relay.app import standby
from relay.delivery.standby.standby import StandbyStatus


class Waiting:
    def __init__(self, *, waits_for_clock: bool) -> None:
        self._waits_for_clock = waits_for_clock

    def status(self) -> StandbyStatus:
        return StandbyStatus(
            target="tls://nas.example/boxes",
            connected=False,
            fault="why",
            waits_for_clock=self._waits_for_clock,
            sent=3,
            newest=7,
            behind_s=20.0,
            base=3,
            base_sent_bytes=0,
            media_missing=0,
        )


def test_why_nothing_follows_is_said_with_what_to_do_about_it() -> None:
    for waits, step in ((True, "time set"), (False, "[standby]")):
        (finding,) = standby._find(Waiting(waits_for_clock=waits))  # type: ignore[arg-type]
        assert "why; it lacks 4 commits of the last 20 s" in finding.what
        assert step in finding.next_step
