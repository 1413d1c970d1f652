"""Where the certificate and what is remembered of it lie below the state folder; light enough for the running box."""

from pathlib import Path

from relay.uplink.acme.schedule import Record

FOLDER = Path("tls") / "acme"
CHALLENGES = Path("tls") / "challenge"
CERTIFICATE = FOLDER / "current.pem"
RECORD = FOLDER / "record.json"


def read_record(state: Path) -> Record:
    """Return what is remembered below `state`, an empty record where that is nothing."""
    try:
        return Record.parse((state / RECORD).read_bytes())
    except OSError:
        return Record()
