"""The hardware watchdog, as the kernel shows it. systemd feeds it (RuntimeWatchdogSec=); this process only looks.

Source: Documentation/ABI/testing/sysfs-class-watchdog of the kernel, and Documentation/watchdog/watchdog-api.rst,
"Environmental monitoring", for the bits of `bootstatus`. `min_timeout` and `max_timeout` are beside them since 5.10.
"""

from dataclasses import dataclass
from pathlib import Path

from relay.box.attributes import number, text

# Broadcom's count 20 bits of 1/65536 s: kernels before 6.8 refuse more than 15 s, those after it took it modulo 16.
BROADCOM_DRIVERS = ("bcm2835-wdt", "bcm2835_wdt")
BROADCOM_MAX_S = 15
_BROADCOM_TURN_S = 16
_BROADCOM_IDENTITY = "Broadcom BCM2835"
_CARD_RESET = 0x20
_WATCHDOGS = "sys/class/watchdog"


@dataclass(frozen=True, slots=True)
class HardwareWatchdog:
    """One watchdog.

    Attributes:
        device: its name under `/dev`.
        driver: the kernel's name of the driver, empty where it does not say whose device it is (softdog, i6300esb).
        identity: what the driver calls it.
        timeout_s: after how long without food it resets the board.
        max_timeout_s: the longest it takes; None where the kernel does not say.
        fed: whether somebody has opened it, and so has to go on feeding it.
        reset_board: whether it was the reason of the last start, as far as the driver can tell.
        stays_on: whether it goes on when whoever feeds it stops in good order.
    """

    device: str
    driver: str
    identity: str
    timeout_s: int
    max_timeout_s: int | None
    fed: bool
    reset_board: bool
    stays_on: bool

    @property
    def true_timeout_s(self) -> int:
        """Return after how long it really resets the board, where a driver of Broadcom's took more than it can."""
        # Not every driver says to which device its watchdog belongs; its identity it always says.
        is_broadcom = self.driver in BROADCOM_DRIVERS or self.identity.startswith(_BROADCOM_IDENTITY)
        if is_broadcom and self.timeout_s > BROADCOM_MAX_S:
            return self.timeout_s % _BROADCOM_TURN_S
        return self.timeout_s


def look_at_watchdog(root: Path = Path("/")) -> HardwareWatchdog | None:
    """Return the watchdog that systemd feeds where it is told to, the first one; None where there is none."""
    places = sorted((root / _WATCHDOGS).glob("watchdog*"), key=lambda place: (len(place.name), place.name))
    if not places:
        return None
    place = places[0]
    return HardwareWatchdog(
        device=place.name,
        driver=(place / "device/driver").resolve().name if (place / "device/driver").exists() else "",
        identity=text(place / "identity"),
        timeout_s=number(place / "timeout") or 0,
        max_timeout_s=number(place / "max_timeout") or None,
        fed=text(place / "state") == "active",
        reset_board=bool((number(place / "bootstatus") or 0) & _CARD_RESET),
        stays_on=text(place / "nowayout") == "1",
    )
