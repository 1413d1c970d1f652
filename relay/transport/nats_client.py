"""One connection to a NATS server: requests and their answers. Nothing is repeated here: whoever asks knows what may.

Source: the NATS documentation, "Client Protocol" and "Developing a Client".
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NoReturn

import trio

from relay.base.errors import PeerRefusedError, RelayError, UnreachableError
from relay.base.limits import NATS_HANDSHAKE_TIMEOUT_S
from relay.base.lone_errors import unwrapped
from relay.transport.destination import Destination
from relay.transport.dialing import Dial, TlsFailedError
from relay.transport.wire import nats
from relay.transport.wire.nats import Event, Info, Message, NatsReader, Ping, Pong, Refusal
from relay.transport.wire.nkeys import UserKey

_READ_BYTES = 64 * 1024
_INBOX = "_INBOX"


class NatsRefusedError(PeerRefusedError):
    """The server said `-ERR`: wrong credentials, a subject that is not allowed, too large a message."""

    code = "peer.nats_refused"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Login:
    """Who we are towards the server; all empty where it asks nobody."""

    user: str = ""
    password: str = ""
    token: str = ""
    key: UserKey | None = None
    jwt: str = ""

    def options(self, nonce: str) -> dict[str, str]:
        """Return what stands in CONNECT."""
        given = {"user": self.user, "pass": self.password, "auth_token": self.token, "jwt": self.jwt}
        if self.key is not None and nonce:
            given["sig"] = self.key.answer(nonce)
            if not self.jwt:
                given["nkey"] = self.key.public
        return {name: value for name, value in given.items() if value}


class Answers:
    """What comes back on one request; see `NatsClient.ask`."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._come: deque[Message] = deque()
        self._news = trio.Event()
        self._fault: RelayError | None = None

    async def next(self) -> Message:
        """Return the next answer.

        Raises:
            UnreachableError: the connection is over, nobody serves the subject, or no answer came in time.
            PeerRefusedError: the server said `-ERR`.
        """
        with _within(self._timeout_s):
            while not self._come:
                if self._fault is not None:
                    raise self._fault
                await self._news.wait()
                self._news = trio.Event()
        message = self._come.popleft()
        if message.status == 503:
            raise UnreachableError("nobody on this NATS server answers: is JetStream on?")
        return message

    def put(self, message: Message) -> None:
        """Take an answer in."""
        self._come.append(message)
        self._news.set()

    def fail(self, fault: RelayError) -> None:
        """Let whoever waits know that no answer comes any more."""
        self._fault = fault
        self._news.set()


class NatsClient:
    """An open connection; made by `open_nats`.

    Attributes:
        max_payload_bytes: the largest message that the server takes, headers included.
    """

    def __init__(self, stream: trio.abc.Stream, info: dict[str, Any]) -> None:
        self._stream = stream
        self._reader = NatsReader()
        self._writing = trio.Lock()
        self._inbox = f"{_INBOX}.{secrets.token_hex(12)}"
        self._waiting: dict[str, Answers] = {}
        self._fault: RelayError | None = None
        limit = info.get("max_payload")
        self.max_payload_bytes = limit if isinstance(limit, int) and limit > 0 else 1024 * 1024

    @property
    def broken(self) -> bool:
        """Return whether the connection is over."""
        return self._fault is not None

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: Sequence[tuple[str, str]] = (), timeout_s: float
    ) -> Message:
        """Return the first answer.

        Raises:
            UnreachableError, PeerRefusedError: as `Answers.next`.
        """
        async with self.ask(subject, payload, headers=headers, timeout_s=timeout_s) as answers:
            return await answers.next()

    @contextlib.asynccontextmanager
    async def ask(
        self, subject: str, payload: bytes = b"", *, headers: Sequence[tuple[str, str]] = (), timeout_s: float
    ) -> AsyncIterator[Answers]:
        """Send a request, of which several answers may come; each has `timeout_s`.

        Raises:
            UnreachableError, PeerRefusedError: as `Answers.next`.
        """
        name = f"{self._inbox}.{secrets.token_hex(6)}"
        answers = self._waiting[name] = Answers(timeout_s)
        try:
            with _within(timeout_s):
                await self._send(nats.publish(subject, payload, reply=name, headers=headers))
            yield answers
        finally:
            del self._waiting[name]

    async def greet(self, login: Login, nonce: str, *, tls: bool) -> None:
        """Say who we are; return when the server has taken it.

        Raises:
            PeerRefusedError: it does not know us.
            UnreachableError: the connection ended.
        """
        about = {"verbose": False, "pedantic": False, "tls_required": tls, "name": "doorstep", "lang": "python"}
        about |= {"version": "1", "protocol": 1, "echo": True, "headers": True, "no_responders": True}
        lines = (nats.connect(about | login.options(nonce)), nats.subscribe(f"{self._inbox}.*", "1"), nats.PING)
        await self._send(b"".join(lines))
        while True:
            for event in await self._receive():
                if isinstance(event, Refusal):
                    raise NatsRefusedError(f"the NATS server refused: {event.text[:200]}")
                if isinstance(event, Pong):
                    return

    async def run(self) -> None:
        """Read until the connection is over; requests under way then fail."""
        try:
            while self._fault is None:
                for event in await self._receive():
                    await self._act_on(event)
        except UnreachableError as error:
            self._fail(error)
        finally:
            self._fail(UnreachableError("the connection to the NATS server was closed"))

    async def _act_on(self, event: Event) -> None:
        match event:
            case Message(subject=subject):
                waiting = self._waiting.get(subject)
                if waiting is not None:
                    waiting.put(event)
            case Ping():
                await self._send(nats.PONG)
            case Refusal(text):
                self._fail(NatsRefusedError(f"the NATS server refused: {text[:200]}"))
            case _:
                pass

    async def _send(self, data: bytes) -> None:
        async with self._writing:
            if self._fault is not None:
                raise self._fault
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise UnreachableError("the connection to the NATS server was lost") from None
            except trio.Cancelled:
                # Half a message may be out: the connection is of no use to anybody.
                self._fail(UnreachableError("the NATS server takes nothing"))
                raise

    async def _receive(self) -> list[Event]:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise UnreachableError("the connection to the NATS server was lost")
        return self._reader.feed(bytes(data))

    def _fail(self, fault: RelayError) -> None:
        if self._fault is None:
            self._fault = fault
        for waiting in self._waiting.values():
            waiting.fail(self._fault)


@contextlib.asynccontextmanager
async def open_nats(
    dial: Dial, host: str, port: int, login: Login, *, tls: Callable[[], ssl.SSLContext] | None
) -> AsyncIterator[NatsClient]:
    """Connect, prove who we are, and serve requests while the block runs.

    `tls` gives the context with which the server must prove its name; None for a connection in plain text.

    Raises:
        UnreachableError: no connection came about, or it speaks no NATS.
        PeerRefusedError: it does not know us.
    """
    with _within(NATS_HANDSHAKE_TIMEOUT_S):
        stream, client = await _connect(dial, host, port, login, tls)
    try:
        async with unwrapped(), trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            try:
                yield client
            finally:
                nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(
    dial: Dial, host: str, port: int, login: Login, tls: Callable[[], ssl.SSLContext] | None
) -> tuple[trio.abc.Stream, NatsClient]:
    plain, _ = await dial(Destination(host, port, None, host))
    stream: trio.abc.Stream = plain
    try:
        # The server speaks first, and in plain text also where TLS follows.
        info = await _read_info(plain)
        if tls is not None:
            stream = await _secure(plain, tls(), host)
        elif info.get("tls_required"):
            _refuse_plain()
        client = NatsClient(stream, info)
        await client.greet(login, str(info.get("nonce") or ""), tls=tls is not None)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream, client


def _refuse_plain() -> NoReturn:
    raise TlsFailedError("the NATS server asks for TLS: name the target tls://")


async def _read_info(stream: trio.abc.Stream) -> dict[str, Any]:
    reader = NatsReader()
    while True:
        try:
            data = bytes(await stream.receive_some(_READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        events = reader.feed(data)
        if len(events) == 1 and isinstance(events[0], Info) and not reader.waiting_bytes:
            return dict(events[0].options)
        if not data or events:
            raise nats.NatsProtocolError("what answers there is no NATS server")


async def _secure(plain: trio.abc.Stream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    secured = trio.SSLStream(plain, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise TlsFailedError(f"its certificate is refused: {cause.verify_message}") from None
        raise TlsFailedError("the TLS handshake failed") from None
    return secured


@contextlib.contextmanager
def _within(timeout_s: float) -> Iterator[None]:
    with trio.move_on_after(timeout_s) as scope:
        yield
    if scope.cancelled_caught:
        raise UnreachableError(f"no answer from the NATS server within {timeout_s:.0f} s")
