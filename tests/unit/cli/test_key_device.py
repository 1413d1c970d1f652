import grp
import os
from pathlib import Path

from relay.box.profile import Keystore
from relay.cli.key_device import device_lines

TPM, OTP = Keystore(kind="tpm2"), Keystore(kind="rpi-otp", otp_first_row=36)


def test_a_unit_reaches_the_one_device_that_holds_the_key(tmp_path: Path) -> None:
    assert device_lines(TPM, tmp_path) == []
    (tmp_path / "dev").mkdir()
    for name in ("tpmrm0", "vcio"):
        (tmp_path / "dev" / name).touch()
    assert device_lines(TPM, tmp_path)[0] == "DeviceAllow=/dev/tpmrm0 rw"
    assert device_lines(OTP, tmp_path)[0] == "DeviceAllow=/dev/vcio r"
    assert device_lines(Keystore(), tmp_path) == []


def test_the_group_of_the_device_comes_along_where_it_has_one(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    device = tmp_path / "dev/tpmrm0"
    device.touch()
    number = os.getgid()
    expected = [f"SupplementaryGroups={grp.getgrgid(number).gr_name}"] if number else []
    assert device_lines(TPM, tmp_path)[1:] == expected
    if os.geteuid() == 0:
        daemon = grp.getgrnam("daemon")
        os.chown(device, 0, daemon.gr_gid)
        assert device_lines(TPM, tmp_path)[1:] == ["SupplementaryGroups=daemon"]
        os.chown(device, 0, 54321)
        assert device_lines(TPM, tmp_path)[1:] == []
