"""Hostile bytes, apps and servers against a running box: each is told what the specification says; it goes on serving.

Everything is drawn from seeded generators, so that a failure comes back.
"""

import contextlib
import http.client
import json
import random  # noqa: TID251 - seeded, so that a failure comes back
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from relay.client_api.door import Door
from relay.transport.routing import Router
from tests.fakes.family import open_family
from tests.fakes.federated import FederatedTown
from tests.interop.hostile_server import HostileServer
from tests.interop.peer_clients import quote
from tests.interop.victim import MOST_MORE_FILES, NESTED, UNKNOWN_EVENT, Nonsense, Victim, ask_as, code_of

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def _still_serves(victim: Victim) -> Iterator[None]:
    yield
    victim.check()


def converse(line: socket.socket, pieces: list[bytes]) -> bytes:
    """Send the pieces, return what comes back until the box hangs up or has nothing to say."""
    heard = b""
    with contextlib.suppress(OSError):
        for piece in pieces:
            line.sendall(piece)
        line.settimeout(0.03)
        while piece := line.recv(65536):
            heard += piece
    return heard


def client_line(victim: Victim) -> socket.socket:
    return socket.create_connection(("127.0.0.1", victim.box.client_port), timeout=5)


def federation_line(victim: Victim, protocols: list[str]) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(victim.box.folder / "ca.crt"))
    context.set_alpn_protocols(protocols)
    port = int(victim.box.name.rpartition(":")[2])
    return context.wrap_socket(socket.create_connection(("localhost", port), timeout=5), server_hostname="localhost")


H1_PARTS = [
    b"GET /_matrix/client/versions HTTP/1.1\r\nHost: a\r\n\r\n", b"PUT /x HTTP/1.1\r\n", b"Host: a\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 3, 4\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"\r\n", b"\n", b"\x00", b"3\r\nabc\r\n",
    b"fffffffffffffffff\r\n", b"0\r\n\r\n", b"-1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"GET http://x/ HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"A: " + b"b" * 70_000 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", b"a: b\r\n" * 300, b" folded\r\n", b"X : y\r\n", b"GET / HTTP/9.9\r\n",
]  # fmt: skip


def statuses_of(heard: bytes) -> list[int]:
    """Return the status of every HTTP/1 answer in `heard`."""
    return [int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("door", ["client", "federation"])
def test_garbage_in_http1_framing_is_a_client_error(victim: Victim, door: str) -> None:
    chance = random.Random(f"h1 {door}")
    seen = set[int]()
    for _ in range(120):
        parts = [chance.choice(H1_PARTS) if chance.random() < 0.8 else chance.randbytes(20) for _ in range(6)]
        line = client_line(victim) if door == "client" else federation_line(victim, ["http/1.1"])
        with line:
            seen |= set(statuses_of(converse(line, parts)))
    assert 400 in seen
    assert all(status < 500 or status in (501, 505) for status in seen), seen


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def test_garbage_in_http2_framing_ends_that_connection_only(victim: Victim) -> None:
    chance = random.Random("h2")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    for number in range(120):
        with federation_line(victim, ["h2"]) as line:
            assert line.selected_alpn_protocol() == "h2"
            frames = [
                frame(
                    chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200]),
                    chance.choice([0, 1, 4, 5, 8, 255]),
                    chance.choice([0, 1, 1, 3, 5, 2**31 - 1]),
                    chance.choice([b"", b"\x82\x84\x87", bytes(8), chance.randbytes(30), b"\xff" * 16384]),
                )
                for _ in range(chance.randrange(1, 30))
            ]
            converse(line, [preface if number % 4 else b"", *frames])


FLOODS = {
    "ping": frame(6, 0, 0, bytes(8)),
    "settings": frame(4, 0, 0, b""),
    "continuation": frame(9, 0, 1, b"\x00\x01a\x01b"),
    "empty data": frame(0, 0, 1, b""),
    "priority": frame(2, 0, 1, bytes(5)),
    "window": frame(8, 0, 0, b"\x00\x00\x00\x01"),
    "reset": b"",
}
GET = b"\x82\x87\x84\x41\x01a"


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_of_http2_frames_are_cut_off(victim: Victim, kind: str) -> None:
    begun = victim.processor_s
    with federation_line(victim, ["h2"]) as line:
        line.settimeout(5)
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        if kind in ("continuation", "empty data", "priority"):
            # A head that never ends, or a body that never has anything in it.
            line.sendall(frame(1, 0 if kind == "continuation" else 4, 1, GET))
        with contextlib.suppress(OSError):
            for number in range(50):
                flood = FLOODS[kind] * 100
                if kind == "reset":
                    streams = range(number * 200 + 1, number * 200 + 201, 2)
                    flood = b"".join(frame(1, 5, stream, GET) + frame(3, 0, stream, bytes(4)) for stream in streams)
                line.sendall(flood)
        # It hangs up by itself; a connection that is merely idle would be kept for minutes.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while line.recv(65536):
                pass
    assert victim.processor_s - begun < 2


def test_a_hundred_half_open_connections_keep_nobody_out(victim: Victim) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(40):
            line = stack.enter_context(client_line(victim))
            line.sendall(b"GET / HTTP/1.1\r\nHost: " + b"a" * number)
        for _ in range(10):
            # Neither a handshake nor anything else.
            port = int(victim.box.name.rpartition(":")[2])
            stack.enter_context(socket.create_connection(("localhost", port), timeout=5))
        victim.check(more_files=MOST_MORE_FILES + 50)


def test_bodies_that_never_end_are_not_all_kept(victim: Victim, hostile: HostileServer) -> None:
    header = hostile.sign(victim.box, "PUT", "/_matrix/federation/v1/send/1", {}, sig="A" * 86)
    head = f"PUT /_matrix/federation/v1/send/1 HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\n"
    refused = 0
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            line = stack.enter_context(federation_line(victim, ["http/1.1"]))
            with contextlib.suppress(OSError):
                line.sendall(head.encode() + b"Content-Length: 8000001\r\n\r\n" + b"x" * 8_000_000)
            line.settimeout(0.01)
            with contextlib.suppress(OSError):
                refused += b"429" in line.recv(4096)
        victim.check(more_files=MOST_MORE_FILES + 30)
    assert refused > 20


BODIES = [
    (b"", 400, {"M_MISSING_PARAM", "M_BAD_JSON", "M_NOT_JSON"}),
    (b"{", 400, {"M_NOT_JSON"}),
    (b"\xff\xfe{}", 400, {"M_NOT_JSON"}),
    (b'{"msgtype": "\xff"}', 400, {"M_NOT_JSON"}),
    (b'{"body": "\\ud800"}', 400, {"M_NOT_JSON", "M_BAD_JSON"}),
    (b"{'a': 1}", 400, {"M_NOT_JSON"}),
    (b'{"a": NaN}', 400, {"M_NOT_JSON"}),
    (b'{"a": 1} x', 400, {"M_NOT_JSON"}),
    (b"\xef\xbb\xbf{}", 400, {"M_NOT_JSON"}),
    (b"[]", 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'"text"', 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b"null", 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (NESTED, 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'{"a":' * 200 + b"1" + b"}" * 200, 400, {"M_BAD_JSON"}),
    (b'{"a": 1.5}', 400, {"M_BAD_JSON"}),
    (b'{"a": 1e400}', 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'{"a": 9007199254740992}', 400, {"M_BAD_JSON"}),
    (b'{"a": -9007199254740992}', 400, {"M_BAD_JSON"}),
    (b'{"a": ' + b"9" * 400 + b"}", 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'{"a": ' + b"9" * 6000 + b"}", 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'{"a": 0.' + b"9" * 6000 + b"}", 400, {"M_BAD_JSON", "M_NOT_JSON"}),
    (b'{"a": "' + b"x" * 66_000 + b'"}', 413, {"M_TOO_LARGE"}),
    (b'{"a": "' + b"x" * 20_000_000 + b'"}', 413, {"M_TOO_LARGE"}),
]


def test_events_that_are_no_canonical_json_are_refused(victim: Victim) -> None:
    room = quote(victim.room)
    for number, (body, status, codes) in enumerate(BODIES):
        target = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/bad{number}"
        got, answer = ask_as(victim, "PUT", target, body)
        if body == b"":
            # An empty body is an empty content.
            assert got == 200
            continue
        assert (got, code_of(answer) in codes) == (status, True), (body[:40], got, answer[:200])


def test_of_keys_that_stand_twice_one_counts_in_every_reader(victim: Victim) -> None:
    target = f"/_matrix/client/v3/rooms/{quote(victim.room)}/send/m.room.message/twice"
    status, body = ask_as(victim, "PUT", target, b'{"msgtype":"m.text","body":"first","body":"second"}')
    assert status in (200, 400)
    if status == 200:
        event = victim.anna.call("GET", f"v3/rooms/{quote(victim.room)}/event/{quote(json.loads(body)['event_id'])}")
        assert event["content"]["body"] == "second"


def routes_of(router: Router) -> list[tuple[str, str]]:
    """Return every (method, pattern) that a router answers."""
    found: list[tuple[str, str]] = []

    def walk(branch: Any, path: str) -> None:
        found.extend((method, path) for method in branch.endpoints)
        for name, child in branch.literal.items():
            walk(child, f"{path}/{name}")
        if branch.parameter is not None:
            walk(branch.parameter, f"{path}/{{}}")

    walk(router._root, "")
    return found


def client_routes() -> list[tuple[str, str]]:
    async def main() -> Door:
        async with open_family() as family:
            return family.door

    return [route for route in routes_of(trio.run(main)._router) if "/r0/" not in route[1]]


ENDING = ("/logout", "/logout/all", "/account/deactivate", "/account/password", "/delete_devices")


def test_wrong_types_at_every_endpoint_are_never_our_fault(victim: Victim, hostile: HostileServer) -> None:
    routes = client_routes()
    assert len(routes) > 90
    own = victim.box.add_user("mallory")
    mallory = victim.box.login("mallory")
    words = [
        own, victim.room, UNKNOWN_EVENT, victim.box.name, f"#a:{victim.box.name}", f"@eve:{hostile.name}",
        "m.room.member",
        "m.room.power_levels", "m.login.password", "m.megolm_backup.v1.curve25519-aes-sha2", "PHONE", "1", "b", "f",
        "content",
        f"!r:{hostile.name}", f"mxc://{hostile.name}/a", "../..", "%", "\x00", "a/b", "public_chat", "override",
        "12", "..",
        "m.text", "ed25519:A", "signed_curve25519", "é",
    ]  # fmt: skip
    token = mallory.call("GET", "v3/sync?timeout=0")["next_batch"]
    words += [token, token[:-1], token + "9" * 30, token.upper(), '{"room": {"timeline": {"limit": -1}}}', "[]", "{"]
    words += ['{"event_fields": 5, "room": {"rooms": [5]}}', '{"room": 5}', '{"room": {"state": {"types": [null]}}}']
    nonsense = Nonsense("types", words)
    faults = []
    for method, pattern in routes * 30:
        if pattern.endswith(ENDING):
            continue
        path = "/".join(quote(nonsense.word()) if part == "{}" else part for part in pattern.split("/"))
        names = [
            "dir",
            "limit",
            "from",
            "to",
            "filter",
            "since",
            "at",
            "user_id",
            "timeout_ms",
            "allow_remote",
            "kind",
            "server",
        ]
        query = "&".join(
            f"{nonsense.chance.choice(names)}={quote(nonsense.word())}" for _ in range(nonsense.chance.randrange(3))
        )
        body = b"" if method in ("GET", "DELETE") else json.dumps(nonsense.body()).encode()
        status, answer = ask_as(victim, method, f"{path}?{query}", body, token=mallory.token)
        if status >= 500 and status not in (502, 504):
            faults.append((method, path, query, body, status, answer))
        elif status >= 400:
            refusal = json.loads(answer)
            # A first answer of user-interactive authentication has no code.
            assert refusal.get("errcode", "M_").startswith("M_") or (status == 401 and "flows" in refusal), answer
    assert faults == []


def federation_routes() -> list[tuple[str, str]]:
    async def main() -> list[tuple[str, str]]:
        async with trio.open_nursery() as nursery, FederatedTown(nursery).box("ada.example") as box:
            found = routes_of(box.router)
            nursery.cancel_scope.cancel()
        return found

    return trio.run(main)


def test_nonsense_at_every_endpoint_for_servers_is_never_our_fault(victim: Victim, hostile: HostileServer) -> None:
    routes = federation_routes()
    assert len(routes) >= 20
    name = victim.box.name
    words = [
        f"@anna:{name}", victim.room, UNKNOWN_EVENT, name, f"#a:{name}", f"@eve:{hostile.name}", "11", "..", "a/b", "%",
        "..%2F..%2Frelay.toml", "\x00", "x" * 300, "m.room.member", "displayname", "", "99999999999999999999", "-1",
    ]  # fmt: skip
    nonsense = Nonsense("servers", words)
    chance = nonsense.chance
    names = ["ver", "v", "limit", "event_id", "user_id", "field", "room_alias", "timeout_ms", "width"]
    faults = []
    for method, pattern in routes * 20:
        path = "/".join(quote(nonsense.word()) if part == "{}" else part for part in pattern.split("/"))
        query = "&".join(f"{chance.choice(names)}={quote(nonsense.word())}" for _ in range(chance.randrange(3)))
        body = None if method == "GET" else json.loads(json.dumps(nonsense.body()).replace("\\ud800", ""))
        status, answer = hostile.ask(victim.box, method, f"{path}?{query}", body)
        if status not in (200, 400, 401, 403, 404, 413, 429, 504):
            faults.append((method, path, query, body, status, answer))
        elif status != 200:
            assert answer["errcode"].startswith("M_")
    assert faults == []


def test_files_are_only_what_was_uploaded(victim: Victim) -> None:
    kept = json.loads(ask_as(victim, "POST", "/_matrix/media/v3/upload?filename=a.txt", b"0123456789")[1])[
        "content_uri"
    ]
    place = f"/_matrix/client/v1/media/download/{kept.removeprefix('mxc://')}"
    server = quote(victim.box.name)
    for media in ("..%2F..%2Froot.key", "..", "%2e%2e", "%00", "a%2F..%2F..%2Frelay.toml", "x" * 300, "%FF", "", "."):
        for target in (
            f"/_matrix/client/v1/media/download/{server}/{media}",
            f"/_matrix/client/v1/media/download/{media}/a",
        ):
            status, answer = ask_as(victim, "GET", target, b"")
            assert (status in (400, 404, 502), b"errcode" in answer) == (True, True), (target, status, answer)
    ranges = {
        "bytes=0-3": (206, b"0123"), "bytes=8-": (206, b"89"), "bytes=-2": (206, b"89"), "bytes=0-999": (206,
        b"0123456789"),
        "bytes=20-30": (416, None), "bytes=5-2": (200, b"0123456789"), "bytes=-0": (416, None), "bytes=a-b": (200,
        b"0123456789"),
        "bytes=0-1,3-4": (200, b"0123456789"), "lines=1-2": (200, b"0123456789"),
        "bytes=" + "0-1," * 2000: (200, b"0123456789"),
    }  # fmt: skip
    for wanted, (status, content) in ranges.items():
        got, answer = ask_as(victim, "GET", place, b"", {"Range": wanted})
        assert got == status, (wanted, got)
        assert content is None or answer == content, wanted


def test_uploads_that_promise_too_much_are_refused_early(victim: Victim) -> None:
    for length in (b"999999999999", b"18446744073709551616", b"-5", b"0x10", b"1e9"):
        with client_line(victim) as line:
            head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {victim.anna.token}\r\n"
            line.settimeout(5)
            line.sendall(head.encode() + b"Content-Length: " + length + b"\r\n\r\nabc")
            assert line.recv(65536).startswith((b"HTTP/1.1 413", b"HTTP/1.1 400")), length
    names = ["a\r\nX-Evil: 1", '"; filename=x', "\x00", "é" * 500, "../../x", ""]
    for name in names:
        target = f"/_matrix/media/v3/upload?filename={quote(name)}"
        status, answer = ask_as(victim, "POST", target, b"abc", {"Content-Type": "text/html; x=" + "y" * 300})
        assert status in (200, 400), (name, status, answer)
        if status == 200:
            uri = json.loads(answer)["content_uri"].removeprefix("mxc://")
            connection = http.client.HTTPConnection("127.0.0.1", victim.box.client_port, timeout=10)
            fields = {"Authorization": f"Bearer {victim.anna.token}"}
            connection.request("GET", f"/_matrix/client/v1/media/download/{uri}", headers=fields)
            reply = connection.getresponse()
            assert reply.status == 200
            assert reply.headers["X-Evil"] is None
            assert "sandbox" in reply.headers["Content-Security-Policy"]
            reply.read()
            connection.close()
