"""What to do about a fault of flash or of a start, by the code of its error: for status, doctor and console alike."""

_REPAIR = (
    "say restart safe and repair at the console, or stop the box: relay doctor --repair; damaged blocks are set aside, "
    "what still fits is kept, what is lost is written down"
)
_INDEX = "relay backup restore FILE --state DIR --index-only brings the index back, the journal adds what is newer"
_CARD = "look at the kernel log; copy the state folder to another card and start the box there"

_SETTINGS = (
    "rollback at the console brings the settings before the last change back; or correct relay.toml: the box goes on"
)

_STEPS = {
    "config.invalid": _SETTINGS,
    "config.unknown": _SETTINGS,
    "start.failed": "restart at the console tries again, diagnostics tell a helper more; or release back",
    "start.refused": "it is tried again every minute; free the port or file that it names",
    "start.safe_asked": "restart at the console ends it",
    "storage.journal_hole": f"{_REPAIR}; what other servers have is fetched from them",
    "storage.segment_lost": f"bring the file back, or {_REPAIR}",
    "storage.roots_lost": f"bring journal/root.a back, or {_REPAIR}",
    "storage.root_old": f"bring the newer root.a and root.b back, or {_REPAIR}",
    "storage.index_stale": f"{_INDEX}; without a backup {_REPAIR}",
    "storage.index_lost": f"{_INDEX}; without a backup what the journal no longer holds is lost",
    "storage.index_mixed": f"bring index.db-wal back, or {_INDEX}",
    "storage.keyring_lost": "bring the file keyring back, or restore a backup: nothing can be read without it",
    "storage.no_room": "make room on the card: the box takes changes in again by itself",
    "storage.failed": f"{_CARD}; after a single refusal a restart is enough",
    "storage.damaged": f"{_INDEX}; or {_CARD}",
    "storage.wrong_key": "bring the right key file or passphrase; nothing was changed",
    "storage.key_absent": "plug in what the key is on: the box goes on by itself, and it may be pulled out after that",
    "storage.locked_by_phrase": "give it at the console: passphrase",
    "storage.upgrade_failed": "say release back: the older release finds its data as it left them, and report this",
    "storage.newer_format": "install the release that wrote the state folder, or a later one",
}


def next_step(code: str) -> str:
    """Return what the operator does about a fault with this code."""
    return _STEPS.get(code, _CARD)
