"""Where the key of a new box would best be, as far as its board tells; nothing is changed or set to find that out."""

from pathlib import Path

from relay.base.errors import RelayError
from relay.box.otp import DEVICE as MAILBOX
from relay.box.otp import Fuses
from relay.box.profile import Keystore
from relay.box.tpm import DEVICE as TPM

_ELSE = "store.key_source passphrase asks for it after each power cut; a key file on a stick (key_file) does without"


def advise(keystore: Keystore, *, tpm: Path = TPM, fuses: Fuses | None = None) -> dict[str, str]:
    """Return the best source as `source`, empty where it is for a person to find one, and `means`, what it means."""
    if keystore.kind == "tpm2" and tpm.exists():
        means = "This board has a TPM. tpm: whoever takes the card reads nothing; whoever takes the box reads all."
        return {"source": "tpm", "means": means}
    if keystore.kind == "rpi-otp" and (fuses is not None or MAILBOX.exists()):
        try:
            (fuses or Fuses()).find()
        except RelayError as error:
            return {"source": "", "means": f"The key would lie on the card. {error}. Else: {_ELSE}."}
        means = "The fuses of this board hold a key. otp: whoever takes the card reads nothing; with the board, all."
        return {"source": "otp", "means": means}
    return {"source": "", "means": f"The key lies on the card, so whoever takes the card reads all. {_ELSE}."}
