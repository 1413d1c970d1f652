"""The client against a server of a few lines; the real one answers in tests/interop/test_standby.py."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from relay.base.errors import PeerRefusedError, UnreachableError
from relay.transport.destination import Destination
from relay.transport.dialing import TlsFailedError
from relay.transport.nats_client import Login, NatsClient, open_nats
from relay.transport.wire.nkeys import parse_seed

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"


class Server:
    """Answers each published message with what `answer` makes of it."""

    def __init__(self, nursery: trio.Nursery, answer: Callable[[str, bytes], list[bytes]], **info: Any) -> None:
        self._nursery = nursery
        self._answer = answer
        self._info = {"server_id": "S", "max_payload": 1000, **info}
        self.connected: dict[str, Any] = {}
        self.heard: list[bytes] = []
        self.refusal = b""
        self.stream: trio.abc.Stream | None = None

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        assert destination.tls_name is None
        ours, theirs = trio.testing.memory_stream_pair()
        self.stream = theirs
        self._nursery.start_soon(self._serve, theirs)
        return ours, False

    async def _serve(self, stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(b"INFO " + json.dumps(self._info).encode() + b"\r\n")
            buffer = b""
            while data := await stream.receive_some():
                buffer += data
                while b"\r\n" in buffer:
                    line, _, rest = buffer.partition(b"\r\n")
                    payload = b""
                    if line.startswith((b"PUB", b"HPUB")):
                        size = int(line.split()[-1])
                        if len(rest) < size + 2:
                            break
                        payload, rest = rest[:size], rest[size + 2 :]
                    buffer = rest
                    await self._hear(stream, line, payload)

    async def _hear(self, stream: trio.abc.Stream, line: bytes, payload: bytes) -> None:
        self.heard.append(line)
        words = line.split()
        if words[0] == b"CONNECT":
            self.connected = json.loads(line.partition(b" ")[2])
            await stream.send_all(self.refusal)
        elif words[0] == b"PING":
            await stream.send_all(b"PONG\r\n")
        elif words[0] in (b"PUB", b"HPUB"):
            for answer in self._answer(words[1].decode(), payload):
                await stream.send_all(answer.replace(b"REPLY", words[2]))


@contextlib.asynccontextmanager
async def opened(
    answer: Callable[[str, bytes], list[bytes]], login: Login | None = None, **info: Any
) -> AsyncIterator[tuple[Server, NatsClient]]:
    async with trio.open_nursery() as nursery:
        server = Server(nursery, answer, **info)
        async with open_nats(server, "nats.example", 4222, login or Login(), tls=None) as client:
            yield server, client
        nursery.cancel_scope.cancel()


def echo(subject: str, payload: bytes) -> list[bytes]:
    text = subject.encode() + b"=" + payload
    return [b"MSG REPLY 1 %d\r\n%s\r\n" % (len(text), text)]


async def test_a_request_gets_its_own_answer_however_many_are_under_way(autojump_clock: object) -> None:
    answers: dict[str, bytes] = {}
    async with opened(echo) as (server, client):

        async def ask(name: str) -> None:
            answers[name] = (await client.request(name, b"x" + name.encode(), timeout_s=5)).payload

        async with trio.open_nursery() as nursery:
            for name in "abcdef":
                nursery.start_soon(ask, name)
        assert client.max_payload_bytes == 1000
    assert answers == {name: f"{name}=x{name}".encode() for name in "abcdef"}
    assert server.connected["headers"] is True
    assert server.connected["verbose"] is False


async def test_several_answers_come_in_order(autojump_clock: object) -> None:
    async with opened(lambda _subject, _payload: [b"MSG REPLY 1 1\r\n%d\r\n" % n for n in range(5)]) as (_, client):
        async with client.ask("a", timeout_s=5) as answers:
            found = [(await answers.next()).payload for _ in range(5)]
        assert found == [b"0", b"1", b"2", b"3", b"4"]


async def test_silence_nobody_and_a_lost_connection_are_unreachable(autojump_clock: object) -> None:
    async with opened(lambda _subject, _payload: []) as (server, client):
        with pytest.raises(UnreachableError, match="within 5 s"):
            await client.request("a", timeout_s=5)
        assert server.stream is not None
        await server.stream.aclose()
        with pytest.raises(UnreachableError, match="lost"):
            await client.request("a", timeout_s=5)
        assert client.broken
    async with opened(lambda _subject, _payload: [b"HMSG REPLY 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"]) as (_, client):
        with pytest.raises(UnreachableError, match="nobody"):
            await client.request("$JS.API.INFO", timeout_s=5)


async def test_a_refusal_ends_requests_with_the_servers_words(autojump_clock: object) -> None:
    async with opened(lambda _subject, _payload: [b"-ERR 'Maximum Payload Violation'\r\n"]) as (_, client):
        with pytest.raises(PeerRefusedError, match="Maximum Payload Violation"):
            await client.request("a", timeout_s=5)


@pytest.mark.parametrize(
    ("login", "given"),
    [
        (Login(), {}),
        (Login(user="u", password="p"), {"user": "u", "pass": "p"}),
        (Login(token="t"), {"auth_token": "t"}),
        (Login(key=parse_seed(SEED)), {"nkey": parse_seed(SEED).public, "sig": parse_seed(SEED).answer("n0")}),
        (Login(key=parse_seed(SEED), jwt="j"), {"jwt": "j", "sig": parse_seed(SEED).answer("n0")}),
    ],
)
async def test_the_login_stands_in_connect(login: Login, given: dict[str, str], autojump_clock: object) -> None:
    async with opened(echo, login, nonce="n0") as (server, _):
        secrets = {name: server.connected.get(name) for name in ("user", "pass", "auth_token", "nkey", "sig", "jwt")}
    assert {name: value for name, value in secrets.items() if value} == given
    assert repr(login).count("p") == repr(Login()).count("p")


async def test_wrong_credentials_are_a_refusal_and_no_nats_server_is_told_apart(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery, echo)
        server.refusal = b"-ERR 'Authorization Violation'\r\n"
        with pytest.raises(PeerRefusedError, match="Authorization Violation"):
            async with open_nats(server, "h", 1, Login(), tls=None):
                pass
        with pytest.raises(TlsFailedError, match="tls://"):
            async with open_nats(Server(nursery, echo, tls_required=True), "h", 1, Login(), tls=None):
                pass

        async def web(destination: Destination) -> tuple[trio.abc.Stream, bool]:
            assert destination.host == "h"
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return ours, False

        with pytest.raises(UnreachableError, match="NATS"):
            async with open_nats(web, "h", 1, Login(), tls=None):
                pass
        nursery.cancel_scope.cancel()


async def test_a_servers_ping_is_answered(autojump_clock: object) -> None:
    async with opened(lambda _subject, _payload: [b"PING\r\n", *echo("", b"")]) as (server, client):
        await client.request("a", timeout_s=5)
        await trio.testing.wait_all_tasks_blocked()
        assert b"PONG" in server.heard


async def test_an_error_of_the_block_comes_out_as_it_was_raised(autojump_clock: object) -> None:
    with pytest.RaisesGroup(KeyError):
        async with opened(echo):
            raise KeyError("mine")
