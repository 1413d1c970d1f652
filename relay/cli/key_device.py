"""Which device holds the board's key, and what a unit needs to reach it: nothing where the board has none."""

from pathlib import Path

from relay.box.otp import DEVICE as MAILBOX
from relay.box.profile import Keystore
from relay.box.tpm import DEVICE as TPM

# A TPM is written commands to; the firmware is asked through a file that is only opened to read.
_DEVICES = {"tpm2": (TPM, "rw"), "rpi-otp": (MAILBOX, "r")}


def device_lines(keystore: Keystore, root: Path = Path("/")) -> list[str]:
    """Return the lines of a unit's drop-in that open the key's device to it, and no other device.

    The device belongs to the relay's user (`hw/60-doorstep.rules`): the unit needs no group for it.
    """
    if keystore.kind not in _DEVICES:
        return []
    device, access = _DEVICES[keystore.kind]
    return [f"DeviceAllow={device} {access}"] if (root / device.relative_to("/")).exists() else []
