"""The key of a box gets another place: the keys that it wraps stay what they are, so nothing is sealed anew.

A power cut at any moment leaves a box that opens by the source that its settings name.
"""

from pathlib import Path

from relay.base.config import FILE_NAME, Config, StoreConfig
from relay.base.trial import BEFORE
from relay.cli.files import write_whole
from relay.cli.reset import own_key_file
from relay.store.keyring import forget

_SETTINGS = {
    "file": ("key_file",),
    "passphrase": (),
    "otp": (),
    "tpm": ("tpm_device", "tpm_pcrs"),
}


def is_moved(before: StoreConfig, after: StoreConfig) -> bool:
    """Return whether the key is somewhere else after than before."""
    names = ("key_source", *_SETTINGS[before.key_source], *_SETTINGS[after.key_source])
    return any(getattr(before, name) != getattr(after, name) for name in names)


def move(folder: Path, before: Config, after: Config, phrases: tuple[str | None, str | None]) -> None:
    """Move the key, and write the settings that say so.

    Args:
        folder: the state folder, of a box that may run: it needs its key at a start only.
        before: the settings in force.
        after: the settings that name the new place.
        phrases: the passphrase before and after, where there is one.

    Raises:
        RelayError: a source does not give its key; nothing was changed.
    """
    from relay.cli.house import move_key, settle_key

    old_file = own_key_file(folder)
    move_key(folder, before, after, phrases)
    # Nobody goes back to settings that name another key.
    (folder / BEFORE).unlink(missing_ok=True)
    write_whole(folder / FILE_NAME, after.render().encode())
    settle_key(folder, after, phrases[1])
    if after.store.key_source != "file" or folder / after.store.key_file != old_file:
        forget([old_file])
