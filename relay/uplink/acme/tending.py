"""Looks after the certificate once: asks whether it is time, orders, keeps, and says when to look again."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import NamedTuple

from relay.base.config_names import AcmeConfig
from relay.uplink.acme import renewal_info, schedule
from relay.uplink.acme.folder import AcmeFolder, Order
from relay.uplink.acme.jose import Binding, make_key
from relay.uplink.acme.ordering import Ordering, Solver, Waiting, Wanted
from relay.uplink.acme.problems import AcmeError
from relay.uplink.acme.renewal_info import Life
from relay.uplink.acme.schedule import Record
from relay.uplink.acme.session import Fetch, Session

_NOW_S = 0.0
_TO_BE_CONTINUED = frozenset({"unreachable", "slow", "serverInternal"})


class Tended(NamedTuple):
    """What came of it: whether there is a new certificate, and in how many seconds to look again."""

    renewed: bool
    pause_s: float
    record: Record


class Tending:
    """Looks after one certificate.

    Args:
        folder: where it is kept.
        settings: who certifies, and how.
        names: what is to be certified.
        fetch: asks the network.
        solver: made when a challenge has to be answered.
        binding: gives what ties the account to one made elsewhere, None for nothing.
        waiting: how time passes.
        draw: `draw(n)` gives 0 to n-1.
    """

    def __init__(
        self,
        folder: AcmeFolder,
        settings: AcmeConfig,
        names: list[str],
        *,
        fetch: Fetch,
        solver: Callable[[], Solver],
        waiting: Waiting,
        draw: Callable[[int], int],
        binding: Callable[[], Binding | None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._names = names
        self._fetch = fetch
        self._solver = solver
        self._waiting = waiting
        self._draw = draw
        self._binding = binding
        self._session: Session | None = None
        self._record = Record()

    def tend(self, *, at_start: bool) -> Tended:
        """Do what is due. Never raises for what the authority or the network does: it is remembered."""
        self._folder.make()
        life = self._settle()
        look_s = self._ask_when(life) if life is not None else None
        renewed = schedule.is_due(self._record, self._waiting.now_s(), at_start=at_start) and self._order(life)
        if renewed and (life := self._life()) is not None:
            look_s = self._ask_when(life)
        self._folder.remember(self._record)
        return Tended(renewed, schedule.pause_s(self._record, self._waiting.now_s(), look_s), self._record)

    def _settle(self) -> Life | None:
        """Bring the record in line with the settings and the certificate, which may both have changed behind it."""
        self._record = self._folder.record()
        life = self._life()
        made_for, ends_s = settings_mark(self._settings, self._names), life.ends_s if life else 0.0
        if self._record.made_for != made_for:
            # Days count for the authority whatever the settings are; nothing else of the past does.
            self._record = Record(made_for=made_for, ends_s=ends_s, orders=self._record.orders)
        elif life is None or not life.names >= set(self._names):
            self._record = dataclasses.replace(self._record, ends_s=ends_s, renew_s=_NOW_S)
        elif ends_s != self._record.ends_s:
            # A power cut came between the certificate and the record of it.
            self._folder.drop_order()
            self._record = self._renewed(life)
        return life

    def _life(self) -> Life | None:
        chain = self._folder.chain()
        try:
            return renewal_info.read_life(chain) if chain else None
        except ValueError:
            return None

    def _ask_when(self, life: Life) -> float | None:
        """Ask the authority when to renew; return in how many seconds it wants to be asked again."""
        if self._record.renew_s <= _NOW_S or not life.identifier:
            return None
        try:
            session = self._open()
            base = session.endpoint("renewalInfo")
            if not base:
                return None
            info, look_s = session.read(f"{base}/{life.identifier}")
            window = renewal_info.parse_window(info)
        except AcmeError:
            # Two thirds of its life, or what was suggested last, is good until it answers again.
            return None
        if tuple(window) != self._record.window:
            renew_s = min(renewal_info.choose(window, self._draw), life.ends_s)
            self._record = dataclasses.replace(self._record, window=(window.start_s, window.end_s), renew_s=renew_s)
        return look_s

    def _order(self, life: Life | None) -> bool:
        try:
            session = self._open()
            session.open_account(self._settings.contact, self._binding(), agreed=self._settings.terms_agreed)
            ordering = Ordering(session, self._solver(), self._waiting)
            order = self._folder.order()
            if order is None or order.made_for != self._record.made_for or not self._take(ordering, order):
                self._take_new(ordering, life)
        except AcmeError as error:
            if error.kind not in _TO_BE_CONTINUED:
                # What the authority has refused it would refuse again.
                self._folder.drop_order()
            self._record = schedule.failed(self._record, self._waiting.now_s(), error)
            return False
        return True

    def _take_new(self, ordering: Ordering, life: Life | None) -> None:
        self._record = schedule.ordered(self._record, self._waiting.now_s())
        self._folder.remember(self._record)
        wanted = Wanted(self._names, self._settings.profile, life.identifier if life else "")
        order = Order(ordering.begin(wanted), self._record.made_for, make_key())
        self._folder.keep_order(order)
        if not self._take(ordering, order):
            raise AcmeError("gone", "the authority dropped the order")

    def _take(self, ordering: Ordering, order: Order) -> bool:
        """Put the order's certificate into use; return False where the order is gone."""
        try:
            chain = ordering.complete(order.url, order.key, self._names)
        except AcmeError as error:
            if error.kind == "gone":
                return False
            raise
        self._folder.keep_chain(order.key, chain)
        self._folder.drop_order()
        self._record = self._renewed(renewal_info.read_life(chain.encode("ascii")))
        return True

    def _renewed(self, life: Life) -> Record:
        return schedule.succeeded(self._record, ends_s=life.ends_s, renew_s=renewal_info.usual_moment(life))

    def _open(self) -> Session:
        if self._session is None:
            key = self._folder.account_key(self._settings.directory)
            self._session = Session(self._fetch, self._settings.directory, key, self._waiting.now_s)
        return self._session


def settings_mark(settings: AcmeConfig, names: list[str]) -> str:
    """Return a mark of what a certificate depends on."""
    parts = [settings.directory, settings.challenge, settings.profile, *sorted(names)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
