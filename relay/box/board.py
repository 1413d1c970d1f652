"""Which board this is, as the kernel tells it."""

import platform
from dataclasses import dataclass
from pathlib import Path

from relay.base.errors import ConfigError
from relay.box.light import StatusLight
from relay.box.profile import FOLDER, OVERRIDE, Profile, load_profile, match

# The first is the interface (Documentation/ABI/testing/sysfs-firmware-ofw) and a link to the second, which a service
# that is shown nothing of /proc but processes still sees.
_DEVICE_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_DMI = "sys/class/dmi/id"
DESK = "desk"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a board says of itself.

    Attributes:
        compatible: device-tree names, the most specific first; empty on a PC.
        model: in words, from the device tree or the firmware; empty where neither tells.
        machine: what `uname -m` says.
    """

    compatible: tuple[str, ...]
    model: str
    machine: str


def identify(root: Path = Path("/")) -> Identity:
    """Return what the board under `root` says of itself (Devicetree Specification 0.4, section 2.3.1)."""
    compatible = _property(root, "compatible")
    model = _property(root, "model") or _texts(root / _DMI / "product_name")
    return Identity(compatible, model[0] if model else "", platform.machine())


def choose_profile(identity: Identity, *, folder: Path = FOLDER) -> str:
    """Return the profile for a board: its own, else the generic one of its kind.

    Raises:
        ConfigError: there is none for this kind of machine.
    """
    name = match(identity.compatible, identity.machine, folder=folder)
    if name is None:
        raise ConfigError(
            f"there is no profile for {identity.machine} machines; relay board --probe prints a beginning"
        )
    return name


def own_profile(state: Path | None, root: Path = Path("/")) -> tuple[str, Profile]:
    """Return the name of this board's profile and the profile, with what the folder `state` overrides in it.

    Raises:
        ConfigError: no profile fits, or the override file is wrong.
    """
    name = choose_profile(identify(root))
    return name, load_profile(name, override=None if state is None else state / OVERRIDE)


def status_light(state: Path, root: Path = Path("/")) -> StatusLight:
    """Return the light of this board; the profile that lies in the folder `state` may name another."""
    try:
        _, profile = own_profile(state, root)
    except ConfigError:
        # Whoever looks at the board says what is wrong with its profile; the box itself does without a light.
        return StatusLight(())
    return StatusLight(profile.leds.status, root / "sys/class/leds")


def _property(root: Path, name: str) -> tuple[str, ...]:
    return next((texts for tree in _DEVICE_TREES if (texts := _texts(root / tree / name))), ())


def _texts(path: Path) -> tuple[str, ...]:
    try:
        content = path.read_bytes()
    except OSError:
        return ()
    texts = (text.strip() for text in content.decode(errors="replace").split("\0"))
    return tuple(text for text in texts if text)
