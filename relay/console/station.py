"""Where a session meets its line and its operator: one loop, no library, idle in one `poll`.

The session and everything it needs is imported when somebody turns up: until then this process is bare Python.
"""

import contextlib
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from relay.base.limits import MAX_CONSOLE_OUTPUT_BYTES, PRESENCE_S
from relay.box.serial_port import HungUpError, Port, PortUnavailableError

if TYPE_CHECKING:
    from relay.box.button import Pressed
    from relay.console.actions import Action
    from relay.console.operator import Call, Operator
    from relay.console.presence import Presence
    from relay.console.session import Session

_FIRST_WAIT_S = 0.1
_MOST_WAIT_S = 5.0
# What somebody who is there sends sooner or later: a person CR, a program a brace, a browser's installer its version.
_WAKING = frozenset(b"\r{\x01")
_HEADER_BYTES = 7
# A packet is written in one go: what did not come within this does not come any more.
_PAUSE_S = 1.0
# The session's own requests are numbered from 1.
_SETTLING = 0
_SETTLE_AGAIN_S = 10.0
_BUTTON_RESET = -1


class Timer(Protocol):
    """Seconds that never go back."""

    def __call__(self) -> float:
        """Return the present moment."""
        ...


class Station:
    """Serves one line for as long as it lives.

    Args:
        open_port: opens the line anew; raises PortUnavailableError while it is unplugged.
        make_operator: gives whoever carries out requests, when there is somebody to make them.
        until_applied: end when the box has been set up, for a console that was started for that.
        stays: reopen the line after a hang-up; a terminal that hangs up is gone for good.
        settle_in: in how many seconds the request `settle` is due, None where it is not.
        locks: ask for the owner before a change; a terminal belongs to somebody who may read the state folder anyway.
        presence: who stands at the box, where it has a button.
    """

    def __init__(
        self,
        open_port: Callable[[], Port],
        make_operator: Callable[[], "Operator"],
        *,
        until_applied: bool = False,
        stays: bool = True,
        settle_in: Callable[[], float | None] = lambda: None,
        locks: bool = True,
        presence: "Presence | None" = None,
        timer: Timer = time.monotonic,
    ) -> None:
        self._open_port = open_port
        self._make_operator = make_operator
        self._operator: Operator | None = None
        self._until_applied = until_applied
        self._stays = stays
        self._settle_in = settle_in
        self._locks = locks
        self._presence = presence
        self._timer = timer
        self._settle_at = self._next_settling()
        self._port: Port | None = None
        self._open_at = 0.0
        self._wait_s = _FIRST_WAIT_S
        self._session: Session | None = None
        self._last = b""
        self._out = bytearray()
        self._calls: dict[int, Call] = {}
        self._heard_at = 0.0
        self._applied = False
        self._left = False

    @property
    def applied(self) -> bool:
        """Return whether this console set the box up."""
        return self._applied

    def run(self, *, greet: bool = False) -> bool:
        """Serve until the person leaves; return whether the box was set up.

        Args:
            greet: begin at once instead of waiting for a CR.

        Raises:
            PortUnavailableError: the line cannot be opened at all, the first time.
        """
        self._port = self._open_port()
        try:
            if greet:
                self._do(self._present_session().greet())
            while not self._left:
                self.step()
            self._drain()
        finally:
            for call in self._calls.values():
                call.cancel()
            if self._presence is not None:
                self._presence.close()
            self._close()
        return self._applied

    def step(self, *, wait: bool = True) -> None:
        """Wait for one piece of news, unless told not to wait, and act on it."""
        poll = select.poll()
        port = self._port
        if port is not None:
            poll.register(port.fileno(), select.POLLIN | (select.POLLOUT if self._out else 0))
        for call in self._calls.values():
            poll.register(call.fileno(), select.POLLIN)
        presence = self._presence
        if presence is not None and (descriptor := presence.fileno()) is not None:
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._wait_ms() if wait else 0)}
        self._collect(ready)
        self._settle()
        self._hear_button()
        if port is None:
            self._reopen()
        elif port.fileno() in ready:
            try:
                self._flush(port)
                self._receive(port.read())
            except HungUpError:
                self._hang_up()

    def _wait_ms(self) -> float | None:
        waits = [self._settle_at]
        if self._port is None:
            waits.append(self._open_at)
        if self._presence is not None and (due_s := self._presence.due_s()) is not None:
            waits.append(self._timer() + due_s)
        due = [at for at in waits if at is not None]
        return max(0.0, min(due) - self._timer()) * 1000 if due else None

    def _collect(self, ready: set[int]) -> None:
        for number, call in list(self._calls.items()):
            reply = call.finish() if call.fileno() in ready else None
            if reply is not None:
                del self._calls[number]
                call.cancel()
                # Any request may have put settings on trial, kept them or taken them back.
                self._settle_at = self._next_settling(least_s=_SETTLE_AGAIN_S if number == _SETTLING else 0.0)
                if number == _BUTTON_RESET:
                    self._was_reset(reply)
                elif number != _SETTLING:
                    self._do(self._present_session().answered(number, reply))

    def _next_settling(self, least_s: float = 0.0) -> float | None:
        in_s = self._settle_in()
        return None if in_s is None else self._timer() + max(least_s, in_s)

    def _settle(self) -> None:
        if self._settle_at is None or self._timer() < self._settle_at or _SETTLING in self._calls:
            return
        if self._settle_in() != 0:
            self._settle_at = self._next_settling()
            return
        # Flash that takes no writes cannot go back: it is tried again, at leisure.
        self._settle_at = self._timer() + _SETTLE_AGAIN_S
        with contextlib.suppress(OSError):
            self._calls[_SETTLING] = self._present_operator().begin({"verb": "settle"})

    def _hear_button(self) -> None:
        presence = self._presence
        if presence is None:
            return
        for what in presence.listen():
            self._tell_held(what)
            if what.name == "RESET" and presence.acting:
                try:
                    self._calls[_BUTTON_RESET] = self._present_operator().begin({"verb": "button_reset"})
                except OSError as error:
                    self._was_reset({"ok": False, "message": f"it could not be started: {error.strerror}"})
            elif what.name == "RESET" and self._session is not None:
                self._do(self._session.was_reset())

    def _tell_held(self, what: "Pressed") -> None:
        if self._session is not None:
            words = {
                "ALLOW": f"The button was held: changes are allowed for {PRESENCE_S / 60:.0f} minutes.",
                "RESET_NEAR": "It is held on: everything will be forgotten in 5 s. Letting it go stops that.",
                "RESET_CANCELLED": "It was let go: nothing was forgotten.",
                "RESET": "Everything is being forgotten.",
            }
            self._do(self._session.told(words[what.name]))

    def _was_reset(self, reply: dict[str, Any]) -> None:
        forgotten = reply.get("ok") is True
        if self._presence is not None:
            self._presence.done(forgotten=forgotten)
        if self._session is not None:
            words = f"error: {reply.get('message')}"
            self._do(self._session.was_reset() if forgotten else self._session.told(words))

    def _receive(self, data: bytes) -> None:
        if data:
            self._wait_s = _FIRST_WAIT_S
        now = self._timer()
        if self._session is None:
            # A JSON line counts only at the start of a line, and a packet's header is seven bytes: what came just
            # before is all there is to know.
            if not _WAKING & set(data):
                self._last = (self._last + data)[-_HEADER_BYTES:]
                return
            data = self._last + data
        elif now - self._heard_at > _PAUSE_S:
            self._do(self._session.paused())
        self._heard_at = now
        if data:
            self._do(self._present_session().receive(data))

    def _present_session(self) -> "Session":
        if self._session is None:
            from relay.console.gate import Gate
            from relay.console.session import Session

            operator = self._present_operator()
            self._session = Session(
                operator.provisioned,
                operator.place,
                operator.load_draft(),
                gate=Gate(_BoxGuard(operator, self._presence, locks=self._locks), self._timer),
                done=operator.load_done(),
                leave_when_applied=self._until_applied,
            )
        return self._session

    def _present_operator(self) -> "Operator":
        if self._operator is None:
            self._operator = self._make_operator()
        return self._operator

    def _do(self, actions: "list[Action]") -> None:
        from relay.console.actions import Abandon, Ask, Keep, Leave, Note, Send

        for action in actions:
            match action:
                case Send(data):
                    self._write(data)
                case Ask(number, fields):
                    self._begin(number, fields)
                case Abandon(number):
                    if number in self._calls:
                        self._calls.pop(number).cancel()
                case Keep(draft):
                    self._keep(draft)
                case Note(done):
                    # On flash that takes no writes the console's own memory has to do.
                    with contextlib.suppress(OSError):
                        self._present_operator().keep_done(done)
                case Leave(applied):
                    self._applied = applied
                    # A serial console only falls silent: there is nowhere else to go from it.
                    self._left = self._left or applied or not self._stays

    def _begin(self, number: int, fields: dict[str, Any]) -> None:
        try:
            self._calls[number] = self._present_operator().begin(fields)
        except OSError as error:
            message = f"the request could not be started: {error.strerror}"
            reply = {"ok": False, "code": "internal", "fault": "box", "retryable": True, "message": message}
            self._do(self._present_session().answered(number, reply))

    def _keep(self, draft: dict[str, str] | None) -> None:
        try:
            self._present_operator().keep_draft(draft)
        except OSError as error:
            # A box whose flash is broken or full is one that needs its console most.
            self._write(f"warning: the plan is in memory only: {error.strerror}\r\n".encode())

    def _write(self, data: bytes) -> None:
        if self._port is None:
            return
        if len(self._out) + len(data) > MAX_CONSOLE_OUTPUT_BYTES:
            # Nobody reads: the oldest goes, so that whoever comes back finds a prompt, at the start of a line.
            self._out[:] = b"\r\n"
        self._out += data[-MAX_CONSOLE_OUTPUT_BYTES + 2 :]

    def _flush(self, port: Port) -> None:
        while self._out:
            taken = port.write(bytes(self._out[:4096]))
            if not taken:
                return
            del self._out[:taken]

    def _drain(self) -> None:
        port, deadline = self._port, self._timer() + 1.0
        while port is not None and self._out and self._timer() < deadline:
            poll = select.poll()
            poll.register(port.fileno(), select.POLLOUT)
            poll.poll(100)
            try:
                self._flush(port)
            except HungUpError:
                return

    def _hang_up(self) -> None:
        self._close()
        self._out.clear()
        self._last = b""
        if not self._stays:
            self._left = True
        elif self._session is not None:
            self._do(self._session.unplugged())
        self._wait_longer()

    def _wait_longer(self) -> None:
        # Only bytes prove a line good: a gadget whose cable is out can be opened and hangs up at once.
        self._open_at = self._timer() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _MOST_WAIT_S)

    def _close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _reopen(self) -> None:
        if self._timer() < self._open_at:
            return
        try:
            self._port = self._open_port()
        except PortUnavailableError:
            self._wait_longer()


class _BoxGuard:
    """What the gate asks of the box; see `relay.console.gate.Guard`."""

    def __init__(self, operator: "Operator", presence: "Presence | None", *, locks: bool) -> None:
        self._operator = operator
        self._presence = presence
        self._locks = locks

    def claimed(self) -> bool:
        """Return whether somebody has to be asked before a change."""
        return self._locks and self._operator.claimed()

    def present_s(self) -> float:
        """Return for how many seconds more the button allows changes."""
        return 0.0 if self._presence is None else self._presence.left_s()

    def has_button(self) -> bool:
        """Return whether there is a button to hold."""
        return self._presence is not None and self._presence.found

    def clock_is_set(self) -> bool:
        """Return whether the time of day can be right."""
        from relay.base.clock import SystemClock, is_set

        return is_set(SystemClock().wall_ms() / 1000)
