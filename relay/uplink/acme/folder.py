"""`DIR/tls/acme`: the account, the order under way, the certificate in use, what is remembered. Each file is whole.

Keys lie here as plain as the one of the own CA: readable by the box alone, and by whoever has the card.
A power cut leaves a file as it was or as it is to be: key and certificate are one file, and change in one rename.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from relay.base.errors import InvalidInputError
from relay.uplink.acme.jose import Key, make_key, parse_key, render_key
from relay.uplink.acme.places import CERTIFICATE, CHALLENGES, FOLDER, RECORD, read_record
from relay.uplink.acme.schedule import Record

Keep = Callable[[Path, bytes], None]
"""Writes a file so that a power cut leaves the old one or the new one, readable by its owner only."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An order that was begun: where, for which settings, and the key that its certificate will be for."""

    url: str
    made_for: str
    key: Key


class AcmeFolder:
    """The files below the state folder `state`."""

    def __init__(self, state: Path, keep: Keep) -> None:
        self._state = state
        self._keep = keep

    def make(self) -> None:
        """Make the folders, and clear what an order cut short left for its challenges."""
        for folder in (FOLDER, CHALLENGES):
            (self._state / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (self._state / CHALLENGES).glob("*.pem*"):
            left.unlink()

    def record(self) -> Record:
        """Return what is remembered."""
        return read_record(self._state)

    def remember(self, record: Record) -> None:
        """Write it down, if it changed."""
        if record != self.record():
            self._keep(self._state / RECORD, record.render())

    def account_key(self, directory_url: str) -> Key:
        """Return the key of the account at one authority, made and kept before anybody sees it."""
        name = hashlib.sha256(directory_url.encode()).hexdigest()[:16]
        path = self._state / FOLDER / f"account-{name}.pem"
        try:
            return parse_key(path.read_text("ascii"))
        except (FileNotFoundError, InvalidInputError):
            key = make_key()
            self._keep(path, render_key(key).encode("ascii"))
            return key

    def order(self) -> Order | None:
        """Return the order that is under way."""
        try:
            fields = json.loads((self._state / FOLDER / "order.json").read_bytes())
            return Order(str(fields["url"]), str(fields["made_for"]), parse_key(str(fields["key"])))
        except (OSError, ValueError, KeyError, TypeError, InvalidInputError):
            return None

    def keep_order(self, order: Order) -> None:
        """Write the order down with its key, before the authority is asked to certify that."""
        fields = {"url": order.url, "made_for": order.made_for, "key": render_key(order.key)}
        self._keep(self._state / FOLDER / "order.json", json.dumps(fields).encode("ascii"))

    def drop_order(self) -> None:
        """Forget the order."""
        (self._state / FOLDER / "order.json").unlink(missing_ok=True)

    def chain(self) -> bytes | None:
        """Return key and certificate in use, PEM, None where there are none."""
        try:
            return (self._state / CERTIFICATE).read_bytes()
        except FileNotFoundError:
            return None

    def keep_chain(self, key: Key, chain: str) -> None:
        """Put key and certificate in the place of the old ones, in one step."""
        self._keep(self._state / CERTIFICATE, f"{render_key(key)}{chain}".encode("ascii"))
