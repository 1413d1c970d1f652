"""The clock that goes on while the power is off, where the board has one.

Source: Documentation/ABI/testing/sysfs-class-rtc and Documentation/admin-guide/rtc.rst of the kernel.
"""

from dataclasses import dataclass
from pathlib import Path

from relay.box.attributes import number, text

_CLOCKS = "sys/class/rtc"


@dataclass(frozen=True, slots=True)
class RealTimeClock:
    """One clock.

    Attributes:
        device: its name under `/dev`.
        name: the driver's name and its device, such as `rtc-ds1307 1-0068`.
        set_the_time: whether the kernel took the time of day from it at the start.
        shows_s: seconds since 1970 as it counts them; None where it has lost the time, which a read then refuses.
    """

    device: str
    name: str
    set_the_time: bool
    shows_s: int | None


def look_at_rtc(root: Path = Path("/")) -> RealTimeClock | None:
    """Return the clock that gave the kernel its time, else the first one; None where there is none."""
    clocks = [
        RealTimeClock(
            device=place.name,
            name=text(place / "name"),
            set_the_time=text(place / "hctosys") == "1",
            shows_s=number(place / "since_epoch"),
        )
        for place in sorted((root / _CLOCKS).glob("rtc*"), key=lambda place: (len(place.name), place.name))
    ]
    return next((clock for clock in clocks if clock.set_the_time), clocks[0] if clocks else None)
