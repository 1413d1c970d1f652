"""How warm the board is and whether its power supply is too weak.

Source: Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-hwmon of the kernel.
"""

import contextlib
from pathlib import Path

SYS = Path("/sys")


def temperature_c(zone_type: str, sys: Path = SYS) -> float | None:
    """Return the temperature of the zone of this type in degrees Celsius, None where the kernel shows none."""
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        if _text(zone / "type") == zone_type:
            with contextlib.suppress(ValueError):
                # Thousandths of a degree.
                return int(_text(zone / "temp")) / 1000
    return None


def is_undervolted(hwmon_name: str, sys: Path = SYS) -> bool | None:
    """Return whether the supply's voltage has dropped too low since the driver last looked, None where nobody looks."""
    for monitor in sorted((sys / "class/hwmon").glob("hwmon*")):
        if hwmon_name and _text(monitor / "name") == hwmon_name:
            alarm = _text(monitor / "in0_lcrit_alarm")
            return alarm == "1" if alarm else None
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
