"""What the kernel shows of a board, as files under a root: what a profile promises, until a test takes some of it away.

Each part writes what the kernel's documentation says its attributes hold; a sentence of it stands in its docstring. The
parts that this machine has are held against it in tests/interop/test_kernel_devices.py.
"""

import os
from pathlib import Path

from relay.box.profile import Profile, Watchdog


class BoardTree:
    """The root folder of a board that has all that its profile names.

    Devicetree Specification 0.4, section 2.3.1: `compatible` is a list of strings, the most specific first, each ended
    by a zero byte. A machine without a device tree has `product_name` under `/sys/class/dmi/id`.
    """

    def __init__(self, root: Path, profile: Profile) -> None:
        self.root = root
        self.profile = profile
        self.watchdog_folder = root / "sys/class/watchdog/watchdog0"
        self._identify()
        self.lights(*profile.leds.status[:1], *profile.leds.power[:1])
        self.zone(41_000)
        self.cooling("cpufreq-cpu0", 0, 4)
        self.supply(alarm=False)
        if profile.watchdog.driver:
            self.watchdog(profile.watchdog)
        if profile.rtc.present:
            self.rtc(shows_s=1_800_000_000)
        if profile.hwrng:
            self.randomness("bcm2835-rng")
        if profile.button.source == "evdev":
            self.button(profile.button.key)
        for port in profile.console:
            self.write(port.dev.lstrip("/"), "")
        self.card()

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one attribute."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def lights(self, *names: str) -> None:
        """Documentation/leds/leds-class.rst: "LEDs appear in /sys/class/leds/. The maximum brightness of the LED is
        defined in max_brightness file"; the chosen one of the triggers stands in brackets.
        """
        for name in names:
            self.write(f"sys/class/leds/{name}/brightness", "0\n")
            self.write(f"sys/class/leds/{name}/max_brightness", "255\n")
            self.write(f"sys/class/leds/{name}/trigger", "none timer [heartbeat] pattern default-on\n")

    def zone(self, millidegrees: int) -> None:
        """ABI/testing/sysfs-class-thermal: "Current temperature as reported by thermal zone (sensor). Unit: millidegree
        Celsius".
        """
        self.write("sys/class/thermal/thermal_zone0/type", "somewhere-else\n")
        self.write("sys/class/thermal/thermal_zone0/temp", "99000\n")
        self.write("sys/class/thermal/thermal_zone1/type", f"{self.profile.thermal.zone_type}\n")
        self.write("sys/class/thermal/thermal_zone1/temp", f"{millidegrees}\n")

    def cooling(self, kind: str, state: int, max_state: int, *, number: int = 0) -> None:
        """ABI/testing/sysfs-class-thermal: "cur_state == 0 means no cooling, cur_state == max_state means the maximum
        cooling".
        """
        folder = f"sys/class/thermal/cooling_device{number}"
        self.write(f"{folder}/type", f"{kind}\n")
        self.write(f"{folder}/cur_state", f"{state}\n")
        self.write(f"{folder}/max_state", f"{max_state}\n")

    def supply(self, *, alarm: bool) -> None:
        """Documentation/hwmon/sysfs-interface.rst, "Alarms": "an associated alarm file, containing a boolean value. 1
        means than an alarm condition exists, 0 means no alarm".
        """
        self.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
        if self.profile.thermal.undervoltage_hwmon:
            self.write("sys/class/hwmon/hwmon1/name", f"{self.profile.thermal.undervoltage_hwmon}\n")
            self.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", f"{int(alarm)}\n")

    def watchdog(self, board: Watchdog, *, fed: bool = True, timeout_s: int | None = None, bootstatus: int = 0) -> None:
        """ABI/testing/sysfs-class-watchdog: `state` "gives active/inactive status of watchdog device", `timeout` is
        "the current value of timeout programmed", `bootstatus` is "equivalent to WDIOC_GETBOOTSTATUS": a sum of bits.
        """
        folder = self.watchdog_folder.relative_to(self.root)
        for name, text in {
            "identity": "A watchdog timer",
            "state": "active" if fed else "inactive",
            "timeout": board.runtime_s if timeout_s is None else timeout_s,
            "max_timeout": board.hw_max_s,
            "bootstatus": bootstatus,
            "nowayout": 0,
        }.items():
            self.write(f"{folder}/{name}", f"{text}\n")
        driver = self.root / "sys/bus/platform/drivers" / board.driver
        driver.mkdir(parents=True, exist_ok=True)
        (self.watchdog_folder / "device").mkdir(exist_ok=True)
        link = self.watchdog_folder / "device/driver"
        link.unlink(missing_ok=True)
        link.symlink_to(driver)

    def rtc(self, *, shows_s: int | None, set_the_time: bool = True) -> None:
        """ABI/testing/sysfs-class-rtc: `since_epoch` is "RTC-provided time as the number of seconds since the epoch",
        `hctosys` "1 if the RTC provided the system time at boot". A clock that lost the time refuses the read (EINVAL).
        """
        self.write("sys/class/rtc/rtc0/name", "rtc-ds1307 1-0068\n")
        self.write("sys/class/rtc/rtc0/hctosys", f"{int(set_the_time)}\n")
        # Nothing in place of the time reads like the refusal: no number.
        self.write("sys/class/rtc/rtc0/since_epoch", "" if shows_s is None else f"{shows_s}\n")

    def randomness(self, current: str) -> None:
        """Documentation/admin-guide/hw_random.rst: "rng_available lists the hardware-specific drivers available, while
        rng_current lists the one which is currently connected to /dev/hwrng".
        """
        self.write("sys/class/misc/hw_random/rng_available", "bcm2835-rng none\n")
        self.write("sys/class/misc/hw_random/rng_current", f"{current}\n")

    def button(self, key: int) -> None:
        """Documentation/input/event-codes.rst: "The event reports supported by a device are also provided by sysfs in
        class/input/event*/device/capabilities/": words of 64 bits in hexadecimal, the most significant first.
        """
        words = [f"{1 << key % 64:x}", *["0"] * (key // 64)]
        self.write("sys/class/input/event0/device/name", f"{self.profile.button.device or 'gpio-keys'}\n")
        self.write("sys/class/input/event0/device/capabilities/key", f"{' '.join(words)}\n")

    def card(self, sectors: int = 2_000_000, up_s: float = 86_400.0, disk: str = "mmcblk0", **attributes: str) -> None:
        """Documentation/block/stat.rst: "write sectors", the seventh value, are "the standard UNIX 512-byte sectors";
        `cid` is the "Card Identification Register" (Documentation/driver-api/mmc/mmc-dev-attrs.rst); `type` is
        MMC for eMMC (drivers/mmc/core/bus.c). Another `disk` takes the place of the one before.
        """
        disk = f"sys/devices/platform/mmc0/block/{disk}"
        self.write(f"{disk}/size", f"{32 * 10**9 // 512}\n")
        self.write(f"{disk}/stat", f"  120 0 9000 80 4000 100 {sectors} 900 0 500 980 0 0 0 0 12 3\n")
        for name, text in {"cid": "1b534d3030303030", **attributes}.items():
            self.write(f"{disk}/device/{name}", f"{text}\n")
        self.write("proc/uptime", f"{up_s:.2f} 100000.00\n")
        device = os.stat(self.root).st_dev
        link = self.root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.root / disk)

    def _identify(self) -> None:
        board = self.profile.board
        if board.match_compatible:
            self.write("proc/device-tree/compatible", f"{board.match_compatible[0]}\0the,soc\0".encode())
            self.write("proc/device-tree/model", f"{board.name} Rev 1.0\0".encode())
        else:
            self.write("sys/class/dmi/id/product_name", f"{board.name}\n")
