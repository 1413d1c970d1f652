"""Board profiles: what a board is, by which names its parts go, and how much of it the relay may use.

One TOML file a board in `firmware_profiles/`; `profile.toml` beside `relay.toml` overrides single values of it. Roles
instead of pins: code asks for the status light, the profile knows its names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.base.errors import ConfigError
from relay.base.typed_toml import parse_table, read_toml
from relay.box.watchdog import BROADCOM_DRIVERS, BROADCOM_MAX_S

FOLDER = Path(__file__).resolve().parents[2] / "firmware_profiles"
OVERRIDE = "profile.toml"
SCHEMA = 1
_KEY_MAX = 0x2FF
# KEY_POWER, KEY_SLEEP, KEY_SUSPEND, KEY_POWER2 and KEY_RESTART: logind.conf(5), HandlePowerKey= and those after it.
_KEYS_OF_POWER = (116, 142, 205, 356, 408)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# The rest becomes the name of a unit, in a script that root runs.
_LINE = re.compile(r"/dev/[A-Za-z0-9][A-Za-z0-9_.]*")


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{key} is {value!r}; it may be {', '.join(known)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What the board is called and how it is recognised.

    Attributes:
        match_compatible: device-tree `compatible` strings, any of which names this board.
        match_arch: machine names (`uname -m`) of a generic profile, for boards that no other profile matches.
        tier: `tested` on the board itself, `ci` in an emulator, `community` from its documentation.
        sources: where the facts come from.
    """

    name: str
    vendor: str
    soc: str
    arch: str
    tier: str
    match_compatible: tuple[str, ...] = ()
    match_arch: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        """Check the words."""
        _one_of("board.arch", self.arch, ("arm64", "amd64", "any"))
        _one_of("board.tier", self.tier, ("tested", "ci", "community"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How much the relay may take before it is slowed down, and before it is ended."""

    ram_mib_min: int = 512
    relay_high_mib: int = 96
    relay_max_mib: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What the state folder lies on, where it cannot be found out.

    Attributes:
        endurance_gb: how much may be written to it in its life, in 10^9 bytes; 0 where nobody says.
    """

    kind: str = "auto"
    erase_block_kib: int = 4096
    endurance_gb: int = 0
    wear_source: str = "auto"

    def __post_init__(self) -> None:
        """Check the words."""
        _one_of("storage.kind", self.kind, ("auto", "sd", "emmc", "nvme", "virtio", "disk"))
        _one_of("storage.wear_source", self.wear_source, ("auto", "emmc", "none"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Which ciphers the cores have instructions for."""

    crypto: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolePort:
    """One line that a person may plug a cable into."""

    dev: str
    kind: str
    baud: int = 115_200

    def __post_init__(self) -> None:
        """Check the words."""
        if not _LINE.fullmatch(self.dev):
            raise ConfigError(f"console.dev is {self.dev!r}; it is the device of a line, as /dev/ttyS0")
        _one_of("console.kind", self.kind, ("usb-gadget", "uart", "usb-serial", "virtual"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gadget:
    """Whether the board can be a USB device, and what to know about its power then."""

    capable: bool = False
    udc_driver: str = ""
    power_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lights:
    """Names under `/sys/class/leds`, the first that exists counts; kernels differ."""

    status: tuple[str, ...] = ()
    power: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """The one button: a key of an input device, as the kernel makes one of a GPIO line (gpio-keys) or of a keyboard.

    Attributes:
        device: the input device's name, or a path under `/dev/input`; empty for the first one that has the key.
        key: the key's code (`KEY_` and `BTN_` in include/uapi/linux/input-event-codes.h of the kernel).
    """

    source: str = "none"
    device: str = ""
    key: int = 0

    def __post_init__(self) -> None:
        """Check the words."""
        _one_of("button.source", self.source, ("none", "evdev"))
        if self.source == "evdev" and not 0 < self.key <= _KEY_MAX:
            raise ConfigError(f"button.source is evdev: button.key is missing, 1 to {_KEY_MAX}")
        if self.key in _KEYS_OF_POWER:
            raise ConfigError(f"button.key is {self.key}: systemd-logind would turn the board off, or start it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """The hardware watchdog: its driver, the longest time it takes, and after how long it resets the running board.

    Attributes:
        reboot_s: the same for a board that is going down.
    """

    driver: str = ""
    hw_max_s: int = 0
    runtime_s: int = 0
    reboot_s: int = 0

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.driver in BROADCOM_DRIVERS and self.hw_max_s > BROADCOM_MAX_S:
            raise ConfigError(f"watchdog.hw_max_s is {self.hw_max_s}; {self.driver} takes {BROADCOM_MAX_S} at most")
        for name in ("runtime_s", "reboot_s"):
            value = getattr(self, name)
            if value and not 5 <= value <= max(self.hw_max_s, 5):
                raise ConfigError(f"watchdog.{name} is {value}; it may be 5 to watchdog.hw_max_s ({self.hw_max_s})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """Which thermal zone is the processor's, and when it is too warm."""

    zone_type: str = "cpu-thermal"
    warn_c: int = 75
    critical_c: int = 85
    undervoltage_hwmon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtc:
    """Whether the board knows the time after a power cut."""

    present: bool = False
    battery_backed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Keystore:
    """Where a key can live that a stolen card does not hold.

    Attributes:
        otp_first_row: the first of eight customer rows of 32 bits, -1 where there are none.
    """

    kind: str = "none"
    otp_first_row: int = -1

    def __post_init__(self) -> None:
        """Check the words."""
        _one_of("keystore.kind", self.kind, ("none", "rpi-otp", "tpm2"))
        if (self.kind == "rpi-otp") != (self.otp_first_row >= 0):
            raise ConfigError("keystore.otp_first_row goes with keystore.kind rpi-otp, and only with it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Which interfaces the board has."""

    ethernet: bool = False
    wifi: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Which systems are known to carry the board."""

    supported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything known of one board.

    Attributes:
        shared_console: whether a console port may be one that the kernel writes to as well.
    """

    board: Board
    schema: int = SCHEMA
    shared_console: bool = False
    memory: Memory = field(default_factory=Memory)
    storage: Storage = field(default_factory=Storage)
    cpu: Cpu = field(default_factory=Cpu)
    console: tuple[ConsolePort, ...] = ()
    gadget: Gadget = field(default_factory=Gadget)
    leds: Lights = field(default_factory=Lights)
    button: Button = field(default_factory=Button)
    watchdog: Watchdog = field(default_factory=Watchdog)
    thermal: Thermal = field(default_factory=Thermal)
    rtc: Rtc = field(default_factory=Rtc)
    hwrng: bool = False
    keystore: Keystore = field(default_factory=Keystore)
    net: Network = field(default_factory=Network)
    os: System = field(default_factory=System)

    def __post_init__(self) -> None:
        """Check the schema."""
        if self.schema != SCHEMA:
            raise ConfigError(f"the profile has schema {self.schema}, this release knows {SCHEMA}")


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all profiles, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_profile(name: str, *, override: Path | None = None, folder: Path = FOLDER) -> Profile:
    """Return the profile `name`, with the values of the file `override` in place of its own where that exists.

    Raises:
        ConfigError: there is no such profile, or a file is not one; the message names the key.
    """
    known = names(folder)
    if not _NAME.fullmatch(name) or name not in known:
        raise ConfigError(f"there is no profile {name!r}; known are {', '.join(known)}")
    tables = read_toml(folder / f"{name}.toml")
    if override is not None and override.exists():
        tables = _merge(tables, read_toml(override))
    try:
        return parse_table(Profile, tables)
    except ConfigError as error:
        raise ConfigError(f"profile {name}: {error}") from None


def match(compatible: Sequence[str], machine: str, *, folder: Path = FOLDER) -> str | None:
    """Return the profile of a board, None where none fits.

    Args:
        compatible: the board's device-tree `compatible` strings, the most specific first; empty on a PC.
        machine: what `uname -m` says.
        folder: where the profiles are.
    """
    boards = {name: load_profile(name, folder=folder).board for name in names(folder)}
    for text in compatible:
        for name, board in boards.items():
            if text in board.match_compatible:
                return name
    return next((name for name, board in boards.items() if machine in board.match_arch), None)


def _merge(tables: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tables)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
