"""How warm the board is, what the kernel does about it, and whether its power supply is too weak.

Source: Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-hwmon of the kernel. On Raspberry Pis the driver
raspberrypi-hwmon asks the firmware every two seconds whether the voltage dropped since the last time; the other bits
that the firmware knows (capped, throttled, too warm) are shown by no driver: heat is seen by the temperature.
"""

from dataclasses import dataclass
from pathlib import Path

from relay.box.attributes import number, text

SYS = Path("/sys")
# What cpufreq_cooling.c and ACPI's processor_thermal.c call the processor, before and since 5.12.
_SLOWING = ("thermal-cpufreq-", "cpufreq-", "Processor")


@dataclass(frozen=True, slots=True)
class Cooling:
    """One way to cool the board: a fan, or a processor that goes slower.

    Attributes:
        kind: the kernel's word for it.
        state: how much it is used, 0 for not at all, up to `max_state`.
        slows: whether it costs speed instead of noise.
    """

    kind: str
    state: int
    max_state: int
    slows: bool


def temperature_c(zone_type: str, sys: Path = SYS) -> float | None:
    """Return the temperature of the zone of this type in degrees Celsius, None where the kernel shows none."""
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        if text(zone / "type") == zone_type and (thousandths := number(zone / "temp")) is not None:
            return thousandths / 1000
    return None


def look_at_cooling(sys: Path = SYS) -> list[Cooling]:
    """Return what can cool the board."""
    return [
        Cooling(
            kind=text(device / "type"),
            state=number(device / "cur_state") or 0,
            max_state=number(device / "max_state") or 0,
            slows=text(device / "type").startswith(_SLOWING),
        )
        for device in sorted((sys / "class/thermal").glob("cooling_device*"))
    ]


def is_undervolted(hwmon_name: str, sys: Path = SYS) -> bool | None:
    """Return whether the supply's voltage has dropped too low since the driver last looked, None where nobody looks."""
    for monitor in sorted((sys / "class/hwmon").glob("hwmon*")):
        if hwmon_name and text(monitor / "name") == hwmon_name:
            alarm = text(monitor / "in0_lcrit_alarm")
            return alarm == "1" if alarm else None
    return None
