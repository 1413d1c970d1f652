"""What the box relies on in a TPM 2.0: the same for the fake and for a real TPM's emulator."""

from typing import Protocol

import pytest

from relay.base.errors import WrongKeyError
from relay.box.tpm import Tpm

SECRET = bytes(range(32))


class Chip(Protocol):
    def tpm(self, pcrs: tuple[int, ...] = ()) -> Tpm: ...
    def restart(self) -> None: ...
    def clear(self) -> None: ...
    def extend(self, register: int, digest: bytes) -> None: ...


def check_chip(chip: Chip, other: Chip) -> None:
    """Everything at once, as an emulator takes its time to start."""
    plain, bound = chip.tpm().seal(SECRET), chip.tpm((7, 0)).seal(SECRET)
    # As an older release sealed it: without the name of the storage key.
    older = {name: value for name, value in plain.items() if name != "parent"}
    assert SECRET not in b"".join(value for value in plain.values() if isinstance(value, bytes))
    assert (plain["pcrs"], bound["pcrs"]) == ([], [7, 0])
    chip.restart()
    assert chip.tpm().unseal(plain) == chip.tpm().unseal(older) == SECRET
    # What a secret was sealed to stands beside it, not in the settings of today.
    assert chip.tpm().unseal(bound) == SECRET
    for foreign in (plain, older):
        with pytest.raises(WrongKeyError, match="did not seal"):
            other.tpm().unseal(foreign)
    chip.extend(16, bytes(32))
    assert chip.tpm().unseal(bound) == SECRET
    chip.extend(7, bytes(32))
    with pytest.raises(WrongKeyError, match="PCR"):
        chip.tpm().unseal(bound)
    assert chip.tpm().unseal(plain) == SECRET
    chip.restart()
    assert chip.tpm().unseal(bound) == SECRET
    chip.clear()
    for lost in (plain, bound):
        with pytest.raises(WrongKeyError, match="cleared"):
            chip.tpm().unseal(lost)
    assert chip.tpm().unseal(chip.tpm().seal(SECRET)) == SECRET
