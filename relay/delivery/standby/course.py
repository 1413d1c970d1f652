"""How far the copy is: what this process knows of the target between one connection and the next."""

import dataclasses
import secrets
import time

import trio

from relay.base.clock import Clock
from relay.base.errors import DamagedError, RelayError
from relay.base.log import get_logger
from relay.delivery.standby.envelope import ID_BYTES, Head, Kind, Sealer
from relay.delivery.standby.records import Whole
from relay.delivery.standby.tables import Start
from relay.delivery.standby.target import Target
from relay.store.ledger import Ledger
from relay.store.tail import RecycledError
from relay.store.workers import Workers

log = get_logger()


@dataclasses.dataclass(slots=True)
class Course:
    """Where we are.

    Attributes:
        workers: where sealing delays nobody.
        chain: the unbroken chain of commits that is being sent.
        begun_after: the commit before its first one.
        sent: the last commit of the chain that the target holds.
        log_number: the log that frames go to.
        held_bytes: what frames take that no base has made superfluous.
        whole: the base at the target, None where there is none.
        base_wanted: whether the chain connects to no base there.
    """

    ledger: Ledger
    clock: Clock
    sealer: Sealer
    start: Start
    workers: Workers
    chain: bytes = b""
    begun_after: int = 0
    sent: int = 0
    log_number: int = 0
    held_bytes: int = 0
    whole: Whole | None = None
    base_wanted: bool = True
    behind_since_s: float | None = None
    media_missing: int = 0
    base_bytes: int = 0
    moved: trio.Event = dataclasses.field(default_factory=trio.Event)

    @property
    def box(self) -> str:
        """Return the name of all logs of this box."""
        return self.sealer.box.hex()

    @property
    def frames(self) -> str:
        """Return the name of the log that frames go to."""
        return f"{self.box}/frames/{self.log_number:08x}"

    def head(self, kind: Kind, first: int = 0, last: int = 0, check: bytes = bytes(ID_BYTES)) -> Head:
        """Return the head of what is sent now."""
        return Head(
            kind=kind,
            chain=self.chain,
            start=self.start.own,
            first=first,
            last=last,
            newest=self.ledger.sequence,
            at_ms=self.clock.wall_ms(),
            held=self.held_bytes,
            check=check,
        )

    def begin_chain(self) -> None:
        """Begin anew from here: what the target holds does not lead up to what the journal still has."""
        self.chain = secrets.token_bytes(ID_BYTES)
        self.sent = self.begun_after = self.ledger.sequence
        self.log_number += 1
        self.held_bytes = 0
        self.base_wanted = True
        self.tell()

    def next_log(self) -> int:
        """Let frames go to a new log from now on, and return its number."""
        self.log_number += 1
        return self.log_number

    def note_sent(self, sequence: int, sent_bytes: int) -> None:
        """Note that the target holds commits up to `sequence`."""
        self.sent = sequence
        self.held_bytes += sent_bytes
        self.behind_since_s = time.monotonic() if self.ledger.sequence > sequence else None
        self.tell()

    def tell(self) -> None:
        """Let those who wait for a change look again."""
        self.moved.set()
        self.moved = trio.Event()

    async def ask(self, target: Target) -> None:
        """Ask the target what it holds, and go on from there or begin a new chain."""
        self.whole = await self._whole(target)
        numbers = [int(name, 16) for name in await target.names(f"{self.box}/frames") if _is_number(name)]
        self.log_number = max(numbers, default=self.whole.first_log if self.whole else 0)
        last = await target.last(self.frames)
        head = self._opened(last) if last is not None else None
        if head is None and last is None and self.whole is not None:
            whole = await target.last(f"{self.box}/whole")
            head = self._opened(whole, Kind.WHOLE) if whole is not None else None
        if head is None or not await self._is_ours(head):
            self.begin_chain()
            return
        self.chain, self.sent = head.chain, head.last
        self.held_bytes = head.held + (len(last) if last is not None else 0)
        connected = self.whole is not None and self.whole.chain == self.chain
        self.begun_after = min(self.begun_after or self.sent, self.sent)
        self.base_wanted = not connected

    def _opened(self, data: bytes, kind: Kind = Kind.FRAME) -> Head | None:
        try:
            opened = self.sealer.open(data, kind)
        except RelayError as error:
            log.warning("delivery.standby_frame_refused", code=error.code)
            return None
        head = opened.head
        # A frame whose last part never came is sent again.
        return head if opened.part + 1 == opened.parts else dataclasses.replace(head, last=head.first - 1, check=b"")

    async def _is_ours(self, head: Head) -> bool:
        """Return whether commits up to `head.last` are this box's own past, and those after it can still be had."""
        if head.start not in self.start.known or head.last > self.ledger.sequence or head.last < 0:
            return False
        if head.check.strip(b"\0"):
            try:
                ((_, payload),) = await self.ledger.tail(head.last - 1).read(1)
            except RecycledError:
                return True
            return self.sealer.check(payload) == head.check
        return True

    async def _whole(self, target: Target) -> Whole | None:
        data = await target.last(f"{self.box}/whole")
        if data is None:
            return None
        try:
            _, values = self.sealer.open_whole(data, Kind.WHOLE)
            return Whole.unpack(values)
        except (DamagedError, RelayError) as error:
            log.warning("delivery.standby_base_refused", code=error.code)
            return None


def _is_number(name: str) -> bool:
    return len(name) == 8 and all(digit in "0123456789abcdef" for digit in name)
