from pathlib import Path

from relay.box.otp import DEVICE as MAILBOX
from relay.box.profile import Keystore
from relay.box.tpm import DEVICE as TPM_DEVICE
from relay.cli.key_device import device_lines

TPM, OTP = Keystore(kind="tpm2"), Keystore(kind="rpi-otp", otp_first_row=36)


def test_a_unit_reaches_the_one_device_that_holds_the_key(tmp_path: Path) -> None:
    assert device_lines(TPM, tmp_path) == []
    (tmp_path / "dev").mkdir()
    for name in ("tpmrm0", "vcio"):
        (tmp_path / "dev" / name).touch()
    assert device_lines(TPM, tmp_path) == ["DeviceAllow=/dev/tpmrm0 rw"]
    assert device_lines(OTP, tmp_path) == ["DeviceAllow=/dev/vcio r"]
    assert device_lines(Keystore(), tmp_path) == []


def test_each_device_that_can_hold_a_key_belongs_to_the_relays_user() -> None:
    rules = (Path(__file__).resolve().parents[3] / "hw/60-doorstep.rules").read_text()
    for device in (TPM_DEVICE, MAILBOX):
        assert f'KERNEL=="{device.name}", OWNER="doorstep"\n' in rules
